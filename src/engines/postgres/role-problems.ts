import { escapeIdentifier } from 'pg';
import type { TargetProblem } from '../engine.ts';
import type { Session } from './connections.ts';

/** A role that a member of a mapped role reaches: the mapped role itself, and every role of which it is a member, directly or not. */
interface ReachedRole {
  name: string;
  mapped: string;
  /** The role by whose membership it is reached; null for the mapped role itself. */
  member: string | null;
  canLogIn: boolean;
  isSuperuser: boolean;
  canCreateRoles: boolean;
  canCreateDatabases: boolean;
  canReplicate: boolean;
  bypassesRowSecurity: boolean;
  isAdmin: boolean;
  /** The roles that it may grant to others. */
  administers: string[];
}

/** The attributes of a role that give more than access to data, with the keyword that removes each. */
const attributes = {
  canLogIn: {
    what: 'can log in, and each of its members can give it a password that outlives the lease',
    keyword: 'NOLOGIN',
  },
  isSuperuser: { what: 'is a superuser', keyword: 'NOSUPERUSER' },
  canCreateRoles: {
    what: 'has CREATEROLE, so it can make roles that outlive the lease',
    keyword: 'NOCREATEROLE',
  },
  canCreateDatabases: {
    what: 'has CREATEDB, so it can make databases that outlive the lease',
    keyword: 'NOCREATEDB',
  },
  canReplicate: { what: 'has REPLICATION, so it can copy every database', keyword: 'NOREPLICATION' },
  bypassesRowSecurity: { what: 'has BYPASSRLS, so no row security policy limits it', keyword: 'NOBYPASSRLS' },
} as const;

/**
 * The predefined roles that give more than access to data (PostgreSQL manual, Predefined Roles), with the reason. The others are
 * the choice of the target's admin: pg_monitor and its parts, pg_checkpoint, pg_use_reserved_connections,
 * pg_signal_autovacuum_worker, and pg_write_all_data, which cannot write system catalogs.
 */
const dangerousRoles: Readonly<Record<string, string>> = {
  pg_execute_server_program: 'runs programs on the server',
  pg_read_server_files: 'reads files of the server, such as stored passwords',
  pg_write_server_files: 'writes files of the server, such as its configuration',
  pg_read_all_data: 'reads the stored passwords of all roles in pg_authid',
  pg_signal_backend: 'ends the sessions of the broker',
  pg_create_subscription: 'makes subscriptions, which run without a session',
  pg_maintain: 'locks every table, also those that ending a lease needs',
};

/**
 * Returns which of `roles`, and of the roles of which they are members, could make access that outlives a lease or prevent that a
 * lease ends. Every membership counts, regardless of its options.
 */
export async function findRoleProblems(session: Session, roles: readonly string[]): Promise<TargetProblem[]> {
  const { rows } = await session.query<ReachedRole>(
    `with recursive reached as (
       select r.oid, r.rolname as mapped, null::oid as member from pg_roles r where r.rolname = any ($1::text[])
       union
       select a.roleid, reached.mapped, a.member from reached join pg_auth_members a on a.member = reached.oid)
     select distinct r.rolname as name, reached.mapped, m.rolname as member,
            r.rolcanlogin and r.rolname <> session_user as "canLogIn", r.rolsuper as "isSuperuser",
            r.rolcreaterole as "canCreateRoles", r.rolcreatedb as "canCreateDatabases",
            r.rolreplication as "canReplicate", r.rolbypassrls as "bypassesRowSecurity",
            r.rolname = session_user as "isAdmin",
            array(select g.rolname::text from pg_auth_members a join pg_roles g on g.oid = a.roleid
                   where a.member = r.oid and a.admin_option order by 1) as administers
       from reached
       join pg_roles r on r.oid = reached.oid
       left join pg_roles m on m.oid = reached.member
      order by 1, 2, 3`,
    [roles],
  );
  return rows.flatMap(describeProblems);
}

function describeProblems(role: ReachedRole): TargetProblem[] {
  const name = escapeIdentifier(role.name);
  const path = role.member === null ? `the role ${name}` : `the role ${name}, which ${viaText(role)} has,`;
  const leave = role.member === null ? undefined : `REVOKE ${name} FROM ${escapeIdentifier(role.member)}`;
  const problems: TargetProblem[] = [];
  for (const [attribute, { what, keyword }] of Object.entries(attributes)) {
    if (role[attribute as keyof typeof attributes]) {
      problems.push({ problem: `${path} ${what}`, statement: leave ?? `ALTER ROLE ${name} ${keyword}` });
    }
  }
  const danger = Object.hasOwn(dangerousRoles, role.name) ? dangerousRoles[role.name] : undefined;
  if (danger !== undefined) problems.push({ problem: `${path} ${danger}`, statement: leave });
  if (role.isAdmin && role.member !== null) {
    problems.push({ problem: `${path} is the admin account of the broker`, statement: leave });
  }
  for (const other of role.administers) {
    const granted = escapeIdentifier(other);
    problems.push({
      problem: `${path} may grant the role ${granted} to others (ADMIN OPTION)`,
      statement: `REVOKE ADMIN OPTION FOR ${granted} FROM ${name}`,
    });
  }
  return problems;
}

function viaText({ mapped, member }: ReachedRole): string {
  return member === mapped || member === null
    ? escapeIdentifier(mapped)
    : `${escapeIdentifier(mapped)} by way of ${escapeIdentifier(member)}`;
}
