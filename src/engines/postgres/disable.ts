import type { Session } from './connections.ts';
import { sqlState, sqlStateOf } from './failure.ts';
import { findRole, hasMembershipOptions, joinStatement, type Role } from './role.ts';
import { terminateSessions } from './sessions.ts';

/**
 * A session of the account can hold locks on its role; the broker does not wait for these any longer. It is short, because
 * an agent that locks the roles of its 100 leases must not delay the end of others by more than a few seconds.
 */
const shortLockTimeout = "set local lock_timeout = '100ms'";
const maxAttempts = 20;
/** Errors that mean that another session changes the same role at the same time. */
const contention: ReadonlySet<string> = new Set([
  sqlState.lockNotAvailable,
  sqlState.internalError,
  sqlState.deadlockDetected,
  sqlState.serializationFailure,
  sqlState.uniqueViolation,
]);

/**
 * Disables the login of a role, then revokes its memberships and those in it. The login is disabled by a statement of its own, because
 * that must succeed even if a membership cannot be revoked. Does nothing if the role does not exist.
 */
export async function disableAccess(session: Session, name: string): Promise<void> {
  const role = await findRole(session, name);
  if (role === undefined) return;
  await insist(session, role, async () => {
    await session.query(`${shortLockTimeout}; ${disableStatement(role)}`);
  });
  await insist(session, role, () => revokeMemberships(session, role));
}

export const disableStatement = ({ quoted }: Role): string =>
  `alter role ${quoted} nologin connection limit 0 password null valid until '1970-01-01T00:00:00Z'`;

/**
 * Runs `work`, again if another session changes the role at the same time. A session of the account can do that all the time, for
 * example by changing its own password in a transaction that it leaves open, so its sessions are ended before each repetition.
 */
async function insist(session: Session, role: Role, work: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === maxAttempts || !isContention(error)) throw error;
      await endOpenSessions(session, role);
    }
  }
}

const isContention = (error: unknown): boolean => contention.has(sqlStateOf(error) ?? '');

async function endOpenSessions(session: Session, role: Role): Promise<void> {
  try {
    if (!role.isAdminSuperuser)
      await session.query(`${shortLockTimeout}; ${joinStatement(role.quoted, role)}`);
    await terminateSessions(session, role);
  } catch (error) {
    // The next attempt comes here again.
    if (!isContention(error)) throw error;
  }
}

/**
 * Revokes every membership of the role, and every membership in it except that of the admin account, which becomes a member: it
 * has to act as the role to end its sessions and to drop what it owns. Memberships that only others may revoke stay.
 */
export async function revokeMemberships(session: Session, role: Role): Promise<void> {
  const statements = (await planRevocations(session, [role])).get(role.oid) ?? [];
  await session.query([shortLockTimeout, ...statements].join(';\n'));
}

/** Returns the statements of `revokeMemberships`, by the role that they are for. */
export async function planRevocations(
  session: Session,
  roles: readonly Role[],
): Promise<Map<number, string[]>> {
  const [first] = roles;
  if (first === undefined) return new Map();
  const { rows } = await session.query<{ oid: number; statement: string }>(
    hasMembershipOptions(first) ? revocationsWithGrantor : revocations,
    [roles.map(({ oid }) => oid)],
  );
  const planned = new Map(roles.map(({ oid }) => [oid, [] as string[]]));
  for (const { oid, statement } of rows) planned.get(oid)?.push(statement);
  for (const role of roles) {
    if (!role.isAdminSuperuser) planned.get(role.oid)?.push(joinStatement(role.quoted, role));
  }
  return planned;
}

/** Until PostgreSQL 15 a membership is one row. In PostgreSQL 14 a login may grant memberships in itself to others. */
const revocations = `
  select r.oid::int8::float8 as oid, format('revoke %I from %I cascade', g.rolname, m.rolname) as statement
    from unnest($1::oid[]) as r (oid)
    join pg_auth_members a on r.oid in (a.roleid, a.member)
    join pg_roles g on g.oid = a.roleid
    join pg_roles m on m.oid = a.member
    join pg_roles s on s.rolname = session_user
   where m.oid <> s.oid and (s.rolsuper or not g.rolsuper)`;

/** Since PostgreSQL 16 there is a row for each grantor, and REVOKE without GRANTED BY finds one of them only. */
const revocationsWithGrantor = `
  select r.oid::int8::float8 as oid,
         format('revoke %I from %I granted by %I cascade', g.rolname, m.rolname, b.rolname) as statement
    from unnest($1::oid[]) as r (oid)
    join pg_auth_members a on r.oid in (a.roleid, a.member, a.grantor)
    join pg_roles g on g.oid = a.roleid
    join pg_roles m on m.oid = a.member
    join pg_roles b on b.oid = a.grantor
   where m.rolname <> session_user
     and pg_has_role(session_user, a.grantor, 'USAGE')
     and pg_has_role(session_user, a.roleid, 'MEMBER WITH ADMIN OPTION')`;
