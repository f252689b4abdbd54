import type { TargetProblem } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import { notMariadb } from './connect.ts';
import type { Call, Session } from './connections.ts';
import { parseGrant, showGrants } from './grants.ts';
import { literal, quoteAccount, quoteRole } from './names.ts';
import { findRoleProblems } from './role-problems.ts';
import { hasPublicRole, parseVersion, versionProblem } from './version.ts';

/** The server and the admin account. */
interface Server {
  version: string;
  isReadOnly: number;
  hasBinaryLog: number;
  /** Whether a plugin checks passwords, and the server refuses hashes because of it. */
  refusesHashes: number;
  replayed: string;
  adminName: string;
  adminHost: string;
}

/** The global privileges that the admin account needs, with what for. */
const needed = {
  'CREATE USER': 'make and remove accounts',
  PROCESS: 'find the sessions of accounts',
  'CONNECTION ADMIN': 'end the sessions of accounts',
} as const;

/**
 * Returns what the admin account lacks, roles that do not exist, and roles that give more than access to data: each with the
 * statement that fixes it.
 */
export async function findProblems(call: Call, roles: readonly string[]): Promise<TargetProblem[]> {
  const replicas = call.onReplicas(findReplicaProblems);
  const results = await Promise.allSettled([
    call.onPrimary((session) => findPrimaryProblems(session, roles, { hasReplicas: replicas.length > 0 })),
    ...replicas,
  ]);
  return results.flatMap((result) => {
    if (result.status === 'fulfilled') return result.value;
    const { reason } = result;
    if (reason instanceof TargetFailure && reason.detail === notMariadb) return [versionProblem(undefined)];
    throw reason;
  });
}

async function findPrimaryProblems(
  session: Session,
  roles: readonly string[],
  { hasReplicas }: { hasReplicas: boolean },
): Promise<TargetProblem[]> {
  const server = await readServer(session);
  const version = parseVersion(server.version);
  if (version === undefined) return [versionProblem(server.version)];
  const admin = await findAdminProblems(session, server);
  // The rest is read from the schema mysql.
  if (admin.some(({ statement }) => statement?.includes('`mysql`') === true)) return admin;
  const { existing, problems } = await findMappedProblems(session, server, roles);
  return [
    ...findServerProblems(server, hasReplicas),
    ...admin,
    ...(await findAnonymous(session)),
    ...problems,
    ...(await findRoleProblems(session, existing, { hasPublic: hasPublicRole(version) })),
  ];
}

async function readServer(session: Session): Promise<Server> {
  const [server] = await session.query<Server>(
    `select version() as version, @@global.read_only as isReadOnly, @@global.log_bin as hasBinaryLog,
            @@global.strict_password_validation and exists (
              select 1 from information_schema.plugins
               where PLUGIN_TYPE = 'PASSWORD VALIDATION' and PLUGIN_STATUS = 'ACTIVE') as refusesHashes,
            @@global.gtid_slave_pos as replayed,
            substring_index(current_user(), '@', char_length(current_user()) - char_length(replace(current_user(), '@', ''))) as adminName,
            substring_index(current_user(), '@', -1) as adminHost`,
  );
  if (server === undefined) throw new Error('the server did not answer with a row');
  return server;
}

function findServerProblems(server: Server, hasReplicas: boolean): TargetProblem[] {
  const problems: TargetProblem[] = [];
  if (server.isReadOnly === 1)
    problems.push({ problem: 'the server is read-only, so no account can be made' });
  if (hasReplicas && server.hasBinaryLog !== 1) {
    problems.push({ problem: 'the server has no binary log, so its replicas cannot be compared with it' });
  }
  if (server.refusesHashes === 1) {
    problems.push({
      problem:
        'the server refuses accounts of which it does not see the password (strict_password_validation)',
      statement: 'SET GLOBAL strict_password_validation = OFF',
    });
  }
  return problems;
}

async function findReplicaProblems(session: Session): Promise<TargetProblem[]> {
  const server = await readServer(session);
  if (parseVersion(server.version) === undefined) return [versionProblem(server.version)];
  if (server.replayed !== '') return [];
  return [{ problem: 'a server in replicas is not a replica (its gtid_slave_pos is empty)' }];
}

async function findAdminProblems(session: Session, server: Server): Promise<TargetProblem[]> {
  const rows = await showGrants(session);
  const admin = quoteAccount(server.adminName, server.adminHost);
  const has = (object: string): Set<string> =>
    new Set(rows.flatMap((row) => parseGrant(row, object)?.privileges ?? []));
  const globally = has('*.*');
  const isFull = globally.has('ALL PRIVILEGES');
  const problems: TargetProblem[] = [];
  for (const [privilege, purpose] of Object.entries(needed)) {
    if (isFull || globally.has(privilege)) continue;
    problems.push({
      problem: `the admin account ${admin} lacks ${privilege}, so it cannot ${purpose}`,
      statement: `GRANT ${privilege} ON *.* TO ${admin}`,
    });
  }
  const inMysql = has('`mysql`.*');
  if (isFull || globally.has('SELECT') || inMysql.has('SELECT') || inMysql.has('ALL PRIVILEGES'))
    return problems;
  problems.push({
    problem: `the admin account ${admin} lacks SELECT on the schema mysql, so it cannot check the state of accounts`,
    statement: `GRANT SELECT ON \`mysql\`.* TO ${admin}`,
  });
  return problems;
}

interface MappedRoles {
  /** The roles that exist. */
  existing: string[];
  problems: TargetProblem[];
}

async function findMappedProblems(
  session: Session,
  server: Server,
  roles: readonly string[],
): Promise<MappedRoles> {
  const found = await session.query<{ name: string; isAdministered: number }>(
    `select p.User as name, exists (
              select 1 from mysql.roles_mapping m
               where m.Role = p.User and m.User = ? and m.Host = ? and m.Admin_option = 'Y') as isAdministered
       from mysql.global_priv p
      where p.Host = '' and json_value(p.Priv, '$.is_role') = '1' and p.User in (${roles.map(literal).join(', ')})`,
    [server.adminName, server.adminHost],
  );
  const admin = quoteAccount(server.adminName, server.adminHost);
  const problems = roles.flatMap((role): TargetProblem[] => {
    const name = quoteRole(role);
    const one = found.find((each) => each.name === role);
    if (one === undefined) {
      return [{ problem: `the role ${name} does not exist`, statement: `CREATE ROLE ${name}` }];
    }
    if (one.isAdministered === 1) return [];
    return [
      {
        problem: `the admin account lacks ADMIN OPTION on the role ${name}, so it cannot grant it`,
        statement: `GRANT ${name} TO ${admin} WITH ADMIN OPTION`,
      },
    ];
  });
  return { existing: roles.filter((role) => found.some(({ name }) => name === role)), problems };
}

/** A login from the host of an anonymous account becomes that account, instead of one whose host is less exact. */
async function findAnonymous(session: Session): Promise<TargetProblem[]> {
  const rows = await session.query<{ host: string }>(
    `select Host as host from mysql.global_priv where User = '' and Host <> '' order by Host`,
  );
  return rows.map(({ host }) => {
    const account = quoteAccount('', host);
    return {
      problem: `the server has the anonymous account ${account}, which takes logins of other accounts`,
      statement: `DROP USER ${account}`,
    };
  });
}
