import { sql } from 'kysely';
import type { Db } from './database.ts';

/**
 * What the login behind `db` may do that the broker's must not: change history, own tables, or be a superuser.
 * Empty: it is right. Checked at start, because such a login would make the record worthless without anyone noticing.
 */
export async function excessPowers(db: Db): Promise<string[]> {
  const result = await sql<{ power: string }>`
    select 'is a superuser' as power from pg_roles where rolname = current_user and rolsuper
    union all
    select 'may create roles' from pg_roles where rolname = current_user and (rolcreaterole or rolbypassrls)
    union all
    select 'may ' || lower(privilege) || ' audit_events'
      from unnest(array['UPDATE', 'DELETE', 'TRUNCATE']) as privilege
     where has_table_privilege('public.audit_events', privilege)
    union all
    select 'owns the table ' || relname
      from pg_class
     where relname in ('audit_events', 'grants', 'tokens') and relnamespace = 'public'::regnamespace
       and pg_has_role(current_user, relowner, 'USAGE')`.execute(db);
  return result.rows.map((row) => row.power);
}
