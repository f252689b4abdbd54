import type { TargetProblem } from '../engine.ts';
import type { Session } from './connections.ts';
import { quoteRole } from './names.ts';
import { findDangers, publicRole, quoteGrantee } from './role-privileges.ts';

/** That one role is granted to another role. */
interface Membership {
  member: string;
  role: string;
  isAdmin: number;
}

/** A role that a mapped role has: the mapped role itself, and every role that is granted to it, directly or not. */
interface ReachedRole {
  name: string;
  /** The role to which it is granted; undefined for the mapped role itself. */
  member: string | undefined;
}

/**
 * Returns which of `roles`, and of the roles that they have, could make access that outlives a lease or prevent that a lease ends.
 *
 * @param hasPublic whether the server has the role PUBLIC, which every account has
 */
export async function findRoleProblems(
  session: Session,
  roles: readonly string[],
  { hasPublic }: { hasPublic: boolean },
): Promise<TargetProblem[]> {
  const memberships = await session.query<Membership>(
    `select User as member, Role as role, Admin_option = 'Y' as isAdmin from mysql.roles_mapping where Host = '' order by 1, 2`,
  );
  const reached = reachRoles(hasPublic ? [...roles, publicRole] : roles, memberships);
  const problems: TargetProblem[] = [];
  for (const role of reached) {
    const path = describePath(role);
    for (const { what, statement } of await findDangers(session, role.name)) {
      problems.push({ problem: `${path} ${what}`, statement });
    }
    for (const { role: other } of memberships.filter(
      (each) => each.member === role.name && each.isAdmin === 1,
    )) {
      problems.push({
        problem: `${path} may grant the role ${quoteRole(other)} to others (ADMIN OPTION)`,
        statement: `REVOKE ADMIN OPTION FOR ${quoteRole(other)} FROM ${quoteGrantee(role.name)}`,
      });
    }
  }
  return problems;
}

function reachRoles(roles: readonly string[], memberships: readonly Membership[]): ReachedRole[] {
  const reached = new Map<string, ReachedRole>(roles.map((name) => [name, { name, member: undefined }]));
  // A map is iterated over what is added meanwhile, too.
  for (const { name: member } of reached.values()) {
    for (const { role: name } of memberships.filter((each) => each.member === member)) {
      if (!reached.has(name)) reached.set(name, { name, member });
    }
  }
  return [...reached.values()];
}

function describePath({ name, member }: ReachedRole): string {
  const role = `the role ${quoteGrantee(name)}`;
  return member === undefined ? role : `${role}, which ${quoteGrantee(member)} has,`;
}
