import type { Session } from './connections.ts';

/** A role of the server, and the admin account as far as it matters for the role. */
export interface Role {
  oid: number;
  name: string;
  /** The name as a quoted identifier. */
  quoted: string;
  canLogIn: boolean;
  /** The admin account as a quoted identifier. */
  admin: string;
  isAdminSuperuser: boolean;
  /** The major version of the server. */
  major: number;
}

/** Finds a role by its name; undefined if the server has none. */
export async function findRole(session: Session, name: string): Promise<Role | undefined> {
  return (await findRoles(session, [name]))[0];
}

/** Finds those of the named roles that the server has. */
export async function findRoles(session: Session, names: readonly string[]): Promise<Role[]> {
  const { rows } = await session.query<Role>(
    `select r.oid::int8::float8 as oid, r.rolname as name, format('%I', r.rolname) as quoted, r.rolcanlogin as "canLogIn",
            format('%I', a.rolname) as admin, a.rolsuper as "isAdminSuperuser",
            current_setting('server_version_num')::int / 10000 as major
       from pg_roles r, pg_roles a
      where r.rolname = any($1) and a.rolname = session_user`,
    [names],
  );
  return rows;
}

/** The first version in which a membership has options and several grantors, and CREATEROLE alone permits no grants. */
const optionsSince = 16;

export function hasMembershipOptions({ major }: Pick<Role, 'major'>): boolean {
  return major >= optionsSince;
}

/**
 * Returns the statement by which the admin account becomes a member of `role`, so that it may act as that role. A superuser may
 * do so without. Until 15 it inherits if it has the attribute INHERIT.
 */
export function joinStatement(role: string, { admin, major }: Pick<Role, 'admin' | 'major'>): string {
  return `grant ${role} to ${admin}${hasMembershipOptions({ major }) ? ' with inherit true, set true' : ''}`;
}
