import type { Call, Session } from './connections.ts';
import { onEveryServer, pause, quietRounds, readLsn } from './end-sessions.ts';
import { sqlStateOf } from './failure.ts';
import { findRoles, type Role } from './role.ts';
import { startingLogins, terminateSessions } from './sessions.ts';

/** A role that still has sessions after this many rounds (half a second or more) is left to `endSessions`. */
const maxRounds = 25;
/** A login that is still starting in this round may be prolonged by its client. */
const patientRounds = 3;

/**
 * Does what `endSessions` does for many disabled roles, with a few messages for each server.
 *
 * @returns the number of sessions that each role had; roles that are not named must be looked at alone
 */
export async function endSessionsTogether(
  call: Call,
  names: readonly string[],
): Promise<Map<string, number>> {
  const { roles, lsn } = await call.onPrimary(async (session) => ({
    roles: await findRoles(session, names),
    lsn: await readLsn(session),
  }));
  const disabled = roles.filter(({ canLogIn }) => !canLogIn);
  const ofServers =
    disabled.length === 0 ? [] : await onEveryServer(call, lsn, (session) => endAll(session, disabled));
  const isAbsent = (name: string): boolean => !roles.some((role) => role.name === name);
  const counts = new Map(names.filter(isAbsent).map((name) => [name, 0]));
  for (const { oid, name } of disabled) {
    const ofRole = ofServers.map((ended) => ended.get(oid));
    if (ofRole.includes(undefined)) continue;
    counts.set(
      name,
      ofRole.reduce<number>((sum, count) => sum + (count ?? 0), 0),
    );
  }
  return counts;
}

interface Sight {
  sessions: { pid: number; oid: number }[];
  /** The processes whose login has begun and is not finished. It may be a login of any role. */
  starting: number[];
}

/** Ends the sessions of roles at one server. Returns how many each role had that has none any more. */
async function endAll(session: Session, roles: readonly Role[]): Promise<Map<number, number>> {
  const ended = new Map(roles.map(({ oid }) => [oid, new Set<number>()]));
  const lastSeen = new Map<number, number>();
  let suspects: readonly number[] | undefined;
  let logins: ReadonlyMap<number, number> = new Map();
  let quiet = 0;
  let round = 0;
  while (quiet < quietRounds && round < maxRounds) {
    round += 1;
    const { sessions, starting } = await look(session, roles);
    // A login that begins from now on is refused.
    suspects = suspects?.filter((pid) => starting.includes(pid)) ?? starting;
    for (const { pid, oid } of sessions) {
      ended.get(oid)?.add(pid);
      lastSeen.set(oid, round);
    }
    quiet = sessions.length === 0 && suspects.length === 0 ? quiet + 1 : 0;
    if (sessions.length > 0) await terminate(session, roles, sessions);
    if (suspects.length > 0 && round >= patientRounds) {
      logins = await terminateStarting(session, roles, ended);
      suspects = [...logins.keys()];
    }
    if (quiet < quietRounds) await session.query(pause);
  }
  // One role whose login does not end must not keep the others: only that role must be looked at alone.
  const hasLogin = new Set(suspects?.map((pid) => logins.get(pid)));
  const isQuiet = ({ oid }: Role): boolean =>
    !hasLogin.has(oid) && (lastSeen.get(oid) ?? 0) <= round - quietRounds;
  return new Map(roles.filter(isQuiet).map(({ oid }) => [oid, ended.get(oid)?.size ?? 0]));
}

async function look(session: Session, roles: readonly Role[]): Promise<Sight> {
  const { rows } = await session.query<{ pid: number; oid: number | null }>(
    `select pid, usesysid::int8::float8 as oid from pg_stat_activity where usesysid = any($1::oid[])
      union all select pid, null from (${startingLogins}) starting`,
    [roles.map(({ oid }) => oid)],
  );
  return {
    sessions: rows.flatMap(({ pid, oid }) => (oid === null ? [] : [{ pid, oid }])),
    starting: rows.filter(({ oid }) => oid === null).map(({ pid }) => pid),
  };
}

/** Asks the server, in one message, to end the sessions of the roles that have any. See `terminateSessions`. */
async function terminate(
  session: Session,
  roles: readonly Role[],
  sessions: Sight['sessions'],
): Promise<void> {
  const seen = new Set(sessions.map(({ oid }) => oid));
  const statements = roles
    .filter(({ oid }) => seen.has(oid))
    .flatMap(({ quoted, oid }) => [
      `set role ${quoted}`,
      `select pg_terminate_backend(pid) from pg_stat_activity where usesysid = ${oid}`,
    ]);
  try {
    await session.query([...statements, 'reset role'].join(';\n'));
  } catch (error) {
    if (sqlStateOf(error) === undefined) throw error;
    // One role cannot be used: the others must not be left for it.
    for (const role of roles) if (seen.has(role.oid)) await terminateIfPossible(session, role);
  }
}

async function terminateIfPossible(session: Session, role: Role): Promise<void> {
  try {
    await terminateSessions(session, role);
  } catch (error) {
    if (sqlStateOf(error) === undefined) throw error;
  }
}

/**
 * Ends the logins of the roles that are not finished. Returns their processes, each with the oid of its role; those of
 * other roles are left alone.
 */
async function terminateStarting(
  session: Session,
  roles: readonly Role[],
  ended: ReadonlyMap<number, Set<number>>,
): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  for (const role of roles) {
    const pids = await terminateSessions(session, role);
    for (const pid of pids) {
      ended.get(role.oid)?.add(pid);
      found.set(pid, role.oid);
    }
  }
  return found;
}
