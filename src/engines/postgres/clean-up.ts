import type { CleanUp, TargetConnection } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import type { Call, Session } from './connections.ts';
import { revokeMemberships } from './disable.ts';
import { sqlState, sqlStateOf } from './failure.ts';
import { describeOwned, describeOwnedShared, findDatabases, rollBackPrepared } from './owned-objects.ts';
import { findPrivileges, type GrantorShare, planRevocation } from './privileges.ts';
import { findRole, type Role } from './role.ts';

const gone: CleanUp = { isGone: true, ownedObjects: [] };
const mostListed = 100;

/** What remains of a role in one database. */
interface Remains {
  owned: string[];
  /** Privileges that the admin account cannot revoke. */
  unreachable: GrantorShare[];
}

interface Request {
  name: string;
  ownedObjects: TargetConnection['ownedObjects'];
}

/**
 * Revokes the privileges of a disabled role in every database, drops what it owns if the target is set to `drop`, and then drops
 * the role unless it still owns something. Never changes the owner of an object: a function with SECURITY DEFINER has the
 * powers of its owner.
 */
export async function cleanUp(call: Call, { name, ownedObjects }: Request): Promise<CleanUp> {
  const found = await call.onPrimary(async (session) => {
    const role = await findRole(session, name);
    if (role === undefined) return undefined;
    if (role.canLogIn) throw new TargetFailure('refused', `the role ${role.quoted} can still log in`);
    // Again, because sessions that were open while access was disabled may have granted memberships.
    await revokeMemberships(session, role);
    return { role, databases: await findDatabases(session, role) };
  });
  if (found === undefined) return gone;
  const owned: string[] = [];
  const unreachable: GrantorShare[] = [];
  for (const database of found.databases) {
    const remains = await call.inDatabase(database, (session) =>
      cleanDatabase(session, { role: found.role, ownedObjects }),
    );
    owned.push(...remains.owned);
    unreachable.push(...remains.unreachable);
  }
  assertReachable(found.role, unreachable);
  return call.onPrimary((session) => dropRole(session, { name, role: found.role, owned }));
}

async function cleanDatabase(
  session: Session,
  { role, ownedObjects }: { role: Role; ownedObjects: Request['ownedObjects'] },
): Promise<Remains> {
  await rollBackPrepared(session, role);
  const owned = await describeOwned(session, role);
  const { revoke, leave, unreachable } = planRevocation(role, await findPrivileges(session, role));
  await session.query(['begin', ...revoke].join(';\n'));
  const isDropped = (owned.length === 0 || ownedObjects === 'drop') && (await dropOwned(session, role));
  await session.query([...leave, 'commit'].join(';\n'));
  return { owned: isDropped ? [] : owned, unreachable };
}

/**
 * Drops what a role owns, with its settings for new objects and what policies say about it. Returns false and drops nothing if
 * objects of others depend on it.
 */
async function dropOwned(session: Session, role: Role): Promise<boolean> {
  await session.query('savepoint before_drop');
  try {
    await session.query(`drop owned by ${role.quoted} restrict`);
    return true;
  } catch (error) {
    if (sqlStateOf(error) !== sqlState.dependentObjectsStillExist) throw error;
    await session.query('rollback to savepoint before_drop');
    return false;
  }
}

function assertReachable(role: Role, [first]: readonly GrantorShare[]): void {
  if (first === undefined) return;
  throw new TargetFailure(
    'missing-privilege',
    `${first.grantor} has granted ${role.quoted} privileges that only ${first.grantor} or a superuser can revoke`,
    { statement: [`set role ${first.grantor}`, ...first.statements, 'reset role', ''].join('; ').trim() },
  );
}

async function dropRole(
  session: Session,
  { name, role, owned }: { name: string; role: Role; owned: readonly string[] },
): Promise<CleanUp> {
  const all = [...owned, ...(await describeOwnedShared(session, role))];
  if (all.length > 0) return { isGone: false, ownedObjects: all.slice(0, mostListed) };
  await session.query(`drop role if exists ${role.quoted}`);
  if ((await findRole(session, name)) === undefined) return gone;
  throw new TargetFailure('refused', `the role ${role.quoted} is still there after it was dropped`);
}
