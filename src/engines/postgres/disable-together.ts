import type { Session } from './connections.ts';
import { disableStatement, planRevocations } from './disable.ts';
import { sqlStateOf } from './failure.ts';
import { findRoles, type Role } from './role.ts';

/** A role that another session has locked is left to `disableAccess`, so that it does not delay the others. */
const quickLockTimeout = "set local lock_timeout = '10ms'";

/**
 * Does what `disableAccess` does for many roles, with four messages in all.
 *
 * @returns the roles that are disabled, or that do not exist; the others must be disabled alone
 */
export async function disableTogether(
  session: Session,
  names: readonly string[],
): Promise<Map<string, undefined>> {
  const roles = await findRoles(session, names);
  const disabled = await changeTogether(session, roles, (role) => [disableStatement(role)]);
  const revocations = await planRevocations(session, disabled);
  const done = await changeTogether(session, disabled, ({ oid }) => revocations.get(oid) ?? []);
  const left = new Set(roles.filter((role) => !done.includes(role)).map(({ name }) => name));
  return new Map(names.filter((name) => !left.has(name)).map((name) => [name, undefined]));
}

/**
 * Runs the statements of all roles as one transaction or, if one of them fails, those of each role as a transaction of its own.
 * Returns the roles whose statements succeeded.
 */
export async function changeTogether<R extends Pick<Role, 'quoted'>>(
  session: Session,
  roles: readonly R[],
  statementsOf: (role: R) => readonly string[],
): Promise<readonly R[]> {
  if (await succeeds(session, roles.flatMap(statementsOf))) return roles;
  const changed: R[] = [];
  for (const role of roles) if (await succeeds(session, statementsOf(role))) changed.push(role);
  return changed;
}

async function succeeds(session: Session, statements: readonly string[]): Promise<boolean> {
  if (statements.length === 0) return true;
  try {
    await session.query([quickLockTimeout, ...statements].join(';\n'));
    return true;
  } catch (error) {
    if (sqlStateOf(error) === undefined) throw error;
    return false;
  }
}
