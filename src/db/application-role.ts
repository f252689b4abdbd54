import { sql } from 'kysely';
import type { Db } from './database.ts';

/**
 * Returns the privileges that the login of `db` has but the broker's login must not have: to change the audit log, to
 * own objects of the broker, to replace functions, or to act as a role that may. An empty result is correct. This is
 * checked at each start, because with such a login the audit log could be forged unnoticed.
 *
 * A login can do what any role can of which it is a direct or indirect member: even with NOINHERIT it can SET ROLE.
 * So all these roles are checked ('MEMBER'; 'USAGE' would skip the NOINHERIT ones), and a privilege of another role
 * is reported with that role's name.
 */
export async function excessPowers(db: Db): Promise<string[]> {
  const result = await sql<{ power: string }>`
    with reachable as (
      select r.oid, r.rolname, r.rolsuper, r.rolcreaterole, r.rolbypassrls, r.rolname = session_user as own
        from pg_roles r
       where pg_has_role(session_user, r.oid, 'MEMBER')
         and (r.rolname = session_user or not (select rolsuper from pg_roles where rolname = session_user))
    ), events as (
      select oid from pg_class where oid = 'public.audit_events'::regclass
      union all
      select inhrelid from pg_inherits where inhparent = 'public.audit_events'::regclass
    ), powers as (
      select 'is a superuser' as power, r.rolname, r.own from reachable r where r.rolsuper
      union all
      select 'may create roles', r.rolname, r.own from reachable r where r.rolcreaterole
      union all
      select 'bypasses row security', r.rolname, r.own from reachable r where r.rolbypassrls
      union all
      select 'is a member of ' || r.rolname, r.rolname, true from reachable r
       where r.rolname in ('pg_write_all_data', 'pg_execute_server_program', 'pg_write_server_files',
                           'pg_read_server_files', 'pg_create_subscription')
      union all
      select 'may ' || lower(p.privilege) || ' audit_events', r.rolname, r.own
        from reachable r, events e, unnest(array['DELETE', 'TRUNCATE', 'TRIGGER']) as p(privilege)
       where has_table_privilege(r.oid, e.oid, p.privilege)
      union all
      select 'may update audit_events', r.rolname, r.own
        from reachable r, events e where has_any_column_privilege(r.oid, e.oid, 'UPDATE')
      union all
      select 'may create in the schema public (its owner must revoke create on schema public from public)', r.rolname, r.own
        from reachable r where has_schema_privilege(r.oid, 'public', 'CREATE')
      union all
      select case when c.relname in ('audit_events', 'grants', 'tokens') then 'owns the table ' || c.relname
                  else 'owns other tables of the broker' end, r.rolname, r.own
        from pg_class c join reachable r on r.oid = c.relowner
       where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
      union all
      select 'owns functions of the broker', r.rolname, r.own
        from pg_proc f join reachable r on r.oid = f.proowner where f.pronamespace = 'public'::regnamespace
      union all
      select 'owns the schema public', r.rolname, r.own
        from pg_namespace n join reachable r on r.oid = n.nspowner where n.nspname = 'public'
      union all
      select 'owns the database', r.rolname, r.own
        from pg_database d join reachable r on r.oid = d.datdba where d.datname = current_database()
    )
    select power || case when bool_or(own) then '' else ' as ' || min(rolname) end as power
      from powers group by power order by power`.execute(db);
  return result.rows.map((row) => row.power);
}
