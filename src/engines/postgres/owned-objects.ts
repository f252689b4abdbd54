import type { Session } from './connections.ts';
import type { Role } from './role.ts';

const mostDescribed = 100;

/** Objects that mean nothing without their role: settings for what it creates, and its logins at foreign servers. */
const worthless = `('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)`;

/**
 * Finds the databases in which something depends on a role: what it owns, privileges of it, policies about it, and transactions
 * that it has prepared.
 */
export async function findDatabases(session: Session, role: Role): Promise<string[]> {
  const { rows } = await session.query<{ name: string }>(
    `select datname as name from pg_database
      where oid in (select dbid from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = $1)
         or datname in (select database from pg_prepared_xacts where owner = (select rolname from pg_roles where oid = $1))
      order by datname`,
    [role.oid],
  );
  return rows.map(({ name }) => name);
}

/** Describes the objects in the current database that a role owns and that are worth keeping, at most 100. */
export async function describeOwned(session: Session, role: Role): Promise<string[]> {
  const { rows } = await session.query<{ description: string }>(
    `select pg_describe_object(classid, objid, objsubid) || ' in database ' || current_database() as description
       from pg_shdepend
      where refclassid = 'pg_authid'::regclass and refobjid = $1 and deptype = 'o'
        and dbid = (select oid from pg_database where datname = current_database())
        and classid not in ${worthless}
      order by 1 limit ${mostDescribed}`,
    [role.oid],
  );
  return rows.map(({ description }) => description);
}

/** Describes the objects outside of databases that a role owns, such as databases. They are never dropped. */
export async function describeOwnedShared(session: Session, role: Role): Promise<string[]> {
  const { rows } = await session.query<{ description: string }>(
    `select pg_describe_object(classid, objid, objsubid) as description
       from pg_shdepend
      where refclassid = 'pg_authid'::regclass and refobjid = $1 and deptype = 'o' and dbid = 0
      order by 1 limit ${mostDescribed}`,
    [role.oid],
  );
  return rows.map(({ description }) => description);
}

/** Rolls back the transactions that a role has prepared in the current database: they would keep its locks. */
export async function rollBackPrepared(session: Session, role: Role): Promise<void> {
  const { rows } = await session.query<{ statement: string }>(
    `select format('rollback prepared %L', gid) as statement
       from pg_prepared_xacts
      where database = current_database() and owner = (select rolname from pg_roles where oid = $1)`,
    [role.oid],
  );
  if (rows.length === 0) return;
  // Only the owner, or a superuser, may roll back.
  await session.query(`set role ${role.quoted}`);
  try {
    for (const { statement } of rows) await session.query(statement);
  } finally {
    await session.query('reset role');
  }
}
