import { settleAll } from '../settle.ts';
import { TargetFailure } from '../target-failure.ts';
import type { Call, Session } from './connections.ts';
import { findRole, type Role } from './role.ts';
import { terminateSessions } from './sessions.ts';

/** Waits at the server, so that no clock of the broker is needed. */
export const pause = 'select pg_sleep(0.02)';
/** One query can miss a login that changes its state meanwhile, but two queries in a row cannot. */
export const quietRounds = 2;

/**
 * Ends every session of a disabled role on the primary server and on every replica, and waits until none is left. The timeout of
 * the call limits the waiting.
 *
 * @returns the number of sessions that there were; 0 if the role does not exist
 */
export async function endSessions(call: Call, name: string): Promise<number> {
  const disabled = await call.onPrimary(async (session) => {
    const role = await findRole(session, name);
    if (role === undefined) return undefined;
    if (role.canLogIn) throw new TargetFailure('refused', `the role ${role.quoted} can still log in`);
    return { role, lsn: await readLsn(session) };
  });
  if (disabled === undefined) return 0;
  const { role, lsn } = disabled;
  const counts = await onEveryServer(call, lsn, (session) => endAll(session, role));
  return counts.reduce((sum, count) => sum + count, 0);
}

/**
 * Runs `work` on the primary server and on every replica, there as soon as it has replayed what the primary had written at `lsn`.
 * If it fails on one, the error is thrown after it has ended on the others.
 */
export async function onEveryServer<T>(
  call: Call,
  lsn: string,
  work: (session: Session) => Promise<T>,
): Promise<T[]> {
  const onReplicas = call.onReplicas(async (session) => {
    await waitForReplay(session, lsn);
    return work(session);
  });
  const onPrimary = call.onPrimary(work).then((result) => [result]);
  return (await settleAll([onPrimary, onReplicas])).flat();
}

async function endAll(session: Session, role: Role): Promise<number> {
  const ended = new Set<number>();
  for (let quiet = 0; quiet < quietRounds; ) {
    const found = await terminateSessions(session, role);
    for (const pid of found) ended.add(pid);
    quiet = found.length === 0 ? quiet + 1 : 0;
    if (quiet < quietRounds) await session.query(pause);
  }
  return ended.size;
}

/** Returns the position up to which the primary server has written its log. */
export async function readLsn(session: Session): Promise<string> {
  const { rows } = await session.query<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
  return rows[0]?.lsn ?? '';
}

/** Waits until a replica has replayed what the primary had written at `lsn`: from then on the replica refuses the login, too. */
async function waitForReplay(session: Session, lsn: string): Promise<void> {
  for (;;) {
    const { rows } = await session.query<{ replayed: boolean | null }>(
      'select pg_last_wal_replay_lsn() >= $1::pg_lsn as replayed',
      [lsn],
    );
    const replayed = rows[0]?.replayed ?? null;
    if (replayed === true) return;
    if (replayed === null) throw new TargetFailure('refused', 'a server in replicas is not a replica');
    await session.query(pause);
  }
}
