import { escapeIdentifier } from 'pg';
import type { TargetProblem } from '../engine.ts';
import type { Call, Session } from './connections.ts';
import { hasMembershipOptions } from './role.ts';
import { findRoleProblems } from './role-problems.ts';

const oldestMajor = 14;

/** The admin account and its server. */
export interface Admin {
  name: string;
  isSuperuser: boolean;
  canCreateRoles: boolean;
  inherits: boolean;
  major: number;
  isStandby: boolean;
  database: string;
}

interface MappedRole {
  name: string;
  exists: boolean;
  /** Whether the admin account has ADMIN OPTION on the role. */
  isAdministered: boolean;
  isSuperuser: boolean;
  mayConnect: boolean;
}

/**
 * Returns what the admin account lacks, roles that do not exist, and roles that give more than access to data: each with the
 * statement that fixes it.
 */
export async function findProblems(call: Call, roles: readonly string[]): Promise<TargetProblem[]> {
  const problems = await call.onPrimary(async (session) => {
    const admin = await readAdmin(session);
    const serverProblem = findServerProblem(admin);
    if (serverProblem !== undefined) return [serverProblem];
    const mapped = await readMappedRoles(session, roles);
    return [
      ...findAdminProblems(admin),
      ...mapped.flatMap((role) => findMappedProblems(admin, role)),
      ...findConnectProblems(admin, mapped),
      ...(await findRoleProblems(session, roles)),
    ];
  });
  const inRecovery = await call.onReplicas(async (session) => (await readAdmin(session)).isStandby);
  if (inRecovery.every(Boolean)) return problems;
  return [...problems, { problem: 'a server in replicas is not a replica (it is not in recovery)' }];
}

async function readAdmin(session: Session): Promise<Admin> {
  const { rows } = await session.query<Admin>(
    `select rolname as name, rolsuper as "isSuperuser", rolcreaterole as "canCreateRoles", rolinherit as inherits,
            current_setting('server_version_num')::int / 10000 as major, pg_is_in_recovery() as "isStandby",
            current_database() as database
       from pg_roles where rolname = session_user`,
  );
  const [admin] = rows;
  if (admin === undefined) throw new Error('the server does not list the role of this session');
  return admin;
}

async function readMappedRoles(session: Session, roles: readonly string[]): Promise<MappedRole[]> {
  const { rows } = await session.query<MappedRole>(
    `select n.name, r.oid is not null as exists, coalesce(r.rolsuper, false) as "isSuperuser",
            coalesce(pg_has_role(session_user, r.oid, 'MEMBER WITH ADMIN OPTION'), false) as "isAdministered",
            coalesce(has_database_privilege(r.oid, current_database(), 'CONNECT'), false) as "mayConnect"
       from unnest($1::text[]) with ordinality n (name, position)
       left join pg_roles r on r.rolname = n.name
      order by n.position`,
    [roles],
  );
  return rows;
}

function findServerProblem({ major, isStandby }: Admin): TargetProblem | undefined {
  if (isStandby) return { problem: 'the server is a replica, on which no account can be made' };
  if (major >= oldestMajor) return undefined;
  return { problem: `the server is PostgreSQL ${major}; ${oldestMajor} or newer is needed` };
}

function findAdminProblems(admin: Admin): TargetProblem[] {
  if (admin.isSuperuser) return [];
  const name = escapeIdentifier(admin.name);
  const problems: TargetProblem[] = [];
  if (!admin.canCreateRoles) {
    problems.push({
      problem: `the admin account ${name} lacks the attribute CREATEROLE`,
      statement: `ALTER ROLE ${name} CREATEROLE`,
    });
  }
  if (!admin.inherits && !hasMembershipOptions(admin)) {
    problems.push({
      problem: `the admin account ${name} lacks the attribute INHERIT, without which it cannot drop what an account owns`,
      statement: `ALTER ROLE ${name} INHERIT`,
    });
  }
  return problems;
}

function findMappedProblems(admin: Admin, role: MappedRole): TargetProblem[] {
  const name = escapeIdentifier(role.name);
  if (!role.exists) {
    return [{ problem: `the role ${name} does not exist`, statement: `CREATE ROLE ${name} NOLOGIN` }];
  }
  if (role.name === admin.name) return [{ problem: `the role ${name} is the admin account itself` }];
  // Until 15, CREATEROLE permits to grant every role that is not a superuser.
  const maySkip = admin.isSuperuser || !hasMembershipOptions(admin) || role.isSuperuser;
  if (maySkip || role.isAdministered) return [];
  return [
    {
      problem: `the admin account lacks ADMIN OPTION on the role ${name}, so it cannot grant it`,
      statement: `GRANT ${name} TO ${escapeIdentifier(admin.name)} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE`,
    },
  ];
}

function findConnectProblems(admin: Admin, mapped: readonly MappedRole[]): TargetProblem[] {
  const existing = mapped.filter(({ exists }) => exists);
  const [first] = existing;
  if (first === undefined || existing.some(({ mayConnect }) => mayConnect)) return [];
  const database = escapeIdentifier(admin.database);
  const name = escapeIdentifier(first.name);
  return [
    {
      problem: `no mapped role may connect to the database ${database}`,
      statement: `GRANT CONNECT ON DATABASE ${database} TO ${name}`,
    },
  ];
}
