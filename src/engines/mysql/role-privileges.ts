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
  return [
    ...(await findGlobal(session, role)),
    ...(await findInSchemas(session, role)),
    ...(await findInTables(session, role)),
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

/** Views of information_schema list what a role has through other roles, too, so the next functions read the tables. */
async function findInSchemas(session: Session, role: string): Promise<Danger[]> {
  // The name of a database in GRANT is a pattern.
  const rows = await session.query<{ pattern: string; event: string; grant: string; isSystem: number }>(
    `select Db as pattern, Event_priv as event, Grant_priv as \`grant\`, 'mysql' like Db as isSystem
       from mysql.db where Host = '' and User = ? order by Db`,
    [role],
  );
  const name = quoteGrantee(role);
  return rows.flatMap(({ pattern, event, grant, isSystem }) => {
    const object = `${quoteRole(pattern)}.*`;
    const dangers: Danger[] = [];
    if (isSystem === 1) {
      dangers.push({
        what: `has privileges on the schema mysql, with the accounts and their passwords (${object})`,
        statement: `REVOKE ALL PRIVILEGES ON ${object} FROM ${name}`,
      });
    } else if (event === 'Y') {
      dangers.push({
        what: `has EVENT on ${object}, so it can make statements run without a session`,
        statement: `REVOKE EVENT ON ${object} FROM ${name}`,
      });
    }
    return grant === 'Y' ? [...dangers, grantOption(object, name)] : dangers;
  });
}

async function findInTables(session: Session, role: string): Promise<Danger[]> {
  const rows = await session.query<{ schema: string; table: string; privileges: string }>(
    `select Db as \`schema\`, Table_name as \`table\`, concat_ws(',', Table_priv, Column_priv) as privileges
       from mysql.tables_priv where Host = '' and User = ? order by 1, 2`,
    [role],
  );
  const name = quoteGrantee(role);
  return rows.flatMap(({ schema, table, privileges }) => {
    const object = `${quoteRole(schema)}.${quoteRole(table)}`;
    const list = privileges.split(',').filter((privilege) => privilege !== '');
    const dangers: Danger[] = [];
    const isHarmless = harmlessTables.test(table) && list.every((privilege) => privilege === 'Select');
    if (schema.toLowerCase() === 'mysql' && !isHarmless) {
      dangers.push({
        what: `has privileges on the table ${object} of the server itself`,
        statement: `REVOKE ALL PRIVILEGES ON ${object} FROM ${name}`,
      });
    }
    return list.includes('Grant') ? [...dangers, grantOption(object, name)] : dangers;
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
