import type { Session } from './connections.ts';
import { parseGrant, showGrants } from './grants.ts';
import { quoteRole } from './names.ts';

/** Something that a role has and must not have. */
export interface Danger {
  what: string;
  statement: string;
}

/** The global privileges that the target's admin may choose to give: they show what the server does. */
const allowedGlobally: readonly string[] = [
  'PROCESS',
  'SHOW DATABASES',
  'BINLOG MONITOR',
  'SLAVE MONITOR',
  'REPLICA MONITOR',
  'SHOW CREATE ROUTINE',
];

/** Why other global privileges are refused (MariaDB, GRANT, Global Privileges). */
const reasons: Readonly<Record<string, string>> = {
  'ALL PRIVILEGES': 'has every privilege',
  SUPER: 'has SUPER, so it can do almost everything',
  'CREATE USER': 'has CREATE USER, so it can make accounts that outlive the lease',
  FILE: 'has FILE, so it can read and write files of the server',
  RELOAD: 'has RELOAD, so it can lock the server, and no account ends meanwhile',
  SHUTDOWN: 'has SHUTDOWN, so it can stop the server',
  EVENT: 'has EVENT, so it can make statements run without a session',
  'SET USER': 'has SET USER, so it can make routines that run as another account',
  'CONNECTION ADMIN': 'has CONNECTION ADMIN, so it can end the sessions of the broker',
  'READ_ONLY ADMIN': 'has READ_ONLY ADMIN, so it can forbid the changes that end the lease',
  'READ ONLY ADMIN': 'has READ ONLY ADMIN, so it can forbid the changes that end the lease',
  'FEDERATED ADMIN': 'has FEDERATED ADMIN, so it can make servers that outlive the lease',
  'BINLOG REPLAY': 'has BINLOG REPLAY, so it can do what other accounts may do',
  'BINLOG ADMIN': 'has BINLOG ADMIN, so it can hide changes from replicas',
  'REPLICATION SLAVE': 'has REPLICATION SLAVE, so it can copy every change',
  'REPLICATION REPLICA': 'has REPLICATION REPLICA, so it can copy every change',
  'REPLICATION SLAVE ADMIN': 'has REPLICATION SLAVE ADMIN, so it can make the server copy another',
  'REPLICATION REPLICA ADMIN': 'has REPLICATION REPLICA ADMIN, so it can make the server copy another',
  'REPLICATION MASTER ADMIN': 'has REPLICATION MASTER ADMIN, so it can stop replicas',
};
const otherReason = (privilege: string): string =>
  `has ${privilege} on all databases, also on the schema mysql with the accounts and their passwords`;

/** Tables of the schema mysql that programs read and that have no secrets. */
const harmlessTables = /^(time_zone|help_)/;

/** Returns what a role itself has that could make access which outlives a lease, or prevent that a lease ends. */
export async function findDangers(session: Session, role: string): Promise<Danger[]> {
  const grantee = isPublic(role) ? "'PUBLIC'@''" : `'${role}'@''`;
  return [
    ...(await findGlobal(session, role)),
    ...(await findInSchemas(session, role, grantee)),
    ...(await findInTables(session, role, grantee)),
    ...(await findInRoutines(session, role)),
  ];
}

/** The role that every account has, since MariaDB 10.11. No other role can have its name. */
export const publicRole = 'PUBLIC';
const isPublic = (role: string): boolean => role === publicRole;

/** Writes a role for GRANT, REVOKE and SHOW GRANTS, where PUBLIC is a keyword. */
export const quoteGrantee = (role: string): string => (isPublic(role) ? role : quoteRole(role));

async function findGlobal(session: Session, role: string): Promise<Danger[]> {
  const name = quoteGrantee(role);
  const rows = await showGrants(session, name);
  // The rows of the roles of this role are for other names.
  const own = rows.filter((row) => row.includes(` ON *.* TO ${name}`));
  return own.flatMap((row) => {
    const { privileges = [], hasGrantOption = false } = parseGrant(row, '*.*') ?? {};
    const dangers = privileges
      .filter((privilege) => !allowedGlobally.includes(privilege))
      .map((privilege) => ({
        what: reasons[privilege] ?? otherReason(privilege),
        statement: `REVOKE ${privilege} ON *.* FROM ${name}`,
      }));
    return hasGrantOption ? [...dangers, grantOption('*.*', name)] : dangers;
  });
}

function grantOption(object: string, name: string): Danger {
  return {
    what: `may grant its privileges on ${object} to others (GRANT OPTION)`,
    statement: `REVOKE GRANT OPTION ON ${object} FROM ${name}`,
  };
}

interface SchemaRow {
  pattern: string;
  hasEvent: number;
  hasGrantOption: number;
  isSystem: number;
}

async function findInSchemas(session: Session, role: string, grantee: string): Promise<Danger[]> {
  // The name of a database in GRANT is a pattern.
  const rows = await session.query<SchemaRow>(
    `select TABLE_SCHEMA as pattern, max(PRIVILEGE_TYPE = 'EVENT') as hasEvent,
            max(IS_GRANTABLE = 'YES') as hasGrantOption, max('mysql' like TABLE_SCHEMA) as isSystem
       from information_schema.schema_privileges where GRANTEE = ? group by TABLE_SCHEMA order by 1`,
    [grantee],
  );
  const name = quoteGrantee(role);
  return rows.flatMap((row) => {
    const object = `${quoteRole(row.pattern)}.*`;
    if (row.isSystem === 1) {
      return [
        {
          what: `has privileges on the schema mysql, with the accounts and their passwords (${object})`,
          statement: `REVOKE ALL PRIVILEGES, GRANT OPTION ON ${object} FROM ${name}`,
        },
      ];
    }
    const dangers: Danger[] = row.hasGrantOption === 1 ? [grantOption(object, name)] : [];
    if (row.hasEvent === 1) {
      dangers.push({
        what: `has EVENT on ${object}, so it can make statements run without a session`,
        statement: `REVOKE EVENT ON ${object} FROM ${name}`,
      });
    }
    return dangers;
  });
}

interface TableRow {
  schema: string;
  table: string;
  hasGrantOption: number;
  onlySelects: number;
}

async function findInTables(session: Session, role: string, grantee: string): Promise<Danger[]> {
  const rows = await session.query<TableRow>(
    `select TABLE_SCHEMA as \`schema\`, TABLE_NAME as \`table\`, max(IS_GRANTABLE = 'YES') as hasGrantOption,
            min(PRIVILEGE_TYPE in ('SELECT', 'USAGE')) as onlySelects
       from (select GRANTEE, TABLE_SCHEMA, TABLE_NAME, PRIVILEGE_TYPE, IS_GRANTABLE from information_schema.table_privileges
              union all
             select GRANTEE, TABLE_SCHEMA, TABLE_NAME, PRIVILEGE_TYPE, IS_GRANTABLE from information_schema.column_privileges) p
      where GRANTEE = ? group by 1, 2 order by 1, 2`,
    [grantee],
  );
  const name = quoteGrantee(role);
  return rows.flatMap((row) => {
    const object = `${quoteRole(row.schema)}.${quoteRole(row.table)}`;
    const isHarmless = harmlessTables.test(row.table) && row.onlySelects === 1;
    if (row.schema.toLowerCase() === 'mysql' && !isHarmless) {
      const what = `has privileges on the table ${object} of the server itself`;
      return [{ what, statement: `REVOKE ALL PRIVILEGES, GRANT OPTION ON ${object} FROM ${name}` }];
    }
    return row.hasGrantOption === 1 ? [grantOption(object, name)] : [];
  });
}

async function findInRoutines(session: Session, role: string): Promise<Danger[]> {
  const rows = await session.query<{ schema: string; routine: string; type: string }>(
    `select Db as \`schema\`, Routine_name as routine, Routine_type as type from mysql.procs_priv
      where Host = '' and User = ? and find_in_set('Grant', Proc_priv) order by 1, 2`,
    [role],
  );
  return rows.map(({ schema, routine, type }) =>
    grantOption(`${type} ${quoteRole(schema)}.${quoteRole(routine)}`, quoteGrantee(role)),
  );
}
