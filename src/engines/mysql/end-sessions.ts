import { TargetFailure } from '../target-failure.ts';
import { assertDisabled } from './accounts.ts';
import type { Call, Session } from './connections.ts';
import { errorNumber, numberOf } from './failure.ts';
import { roleNameOf } from './names.ts';

/** Waits at the server, so that no clock of the broker is needed. */
const pause = 'do sleep(0.02)';
/** How long a replica waits for the primary before it answers, so that it notices a connection that was ended. */
const replayWaitSeconds = 0.2;
/** One query can miss a session that changes its state meanwhile, but two queries in a row cannot. */
const quietRounds = 2;

/**
 * Ends every session of a disabled account on the primary server and on every replica, and waits until none is left. The timeout of
 * the call limits the waiting. Sessions of an account that somebody dropped are found, too: the server knows them by name.
 *
 * @returns the number of sessions that there were
 */
export async function endSessions(call: Call, name: string): Promise<number> {
  const position = await call.onPrimary(async (session) => {
    await assertDisabled(session, name);
    return readPosition(session);
  });
  const results = await Promise.allSettled([
    call.onPrimary((session) => endAll(session, name)),
    ...call.onReplicas(async (session) => {
      await waitForReplay(session, position);
      return endAll(session, name);
    }),
  ]);
  let ended = 0;
  for (const result of results) {
    if (result.status === 'rejected') throw result.reason;
    ended += result.value;
  }
  return ended;
}

async function endAll(session: Session, name: string): Promise<number> {
  const ended = new Set<number>();
  for (let quiet = 0; quiet < quietRounds; ) {
    const found = await kill(session, name);
    for (const id of found) ended.add(id);
    quiet = found.length === 0 ? quiet + 1 : 0;
    if (quiet < quietRounds) await session.query(pause);
  }
  return ended.size;
}

/**
 * Asks the server to end every connection of an account, and every event that runs as its role. A login that is not finished
 * counts: the server shows its name here before it reads whether the account is locked. KILL USER would end them with one message, but
 * without the privilege it ends none and succeeds.
 *
 * @returns the connections that were asked to end
 */
async function kill(session: Session, name: string): Promise<number[]> {
  const found = await session.query<{ id: number }>(
    'select ID as id from information_schema.processlist where USER in (?, ?)',
    [name, roleNameOf(name)],
  );
  for (const { id } of found) {
    try {
      await session.query(`kill hard connection ${id}`);
    } catch (error) {
      if (numberOf(error) !== errorNumber.noSuchThread) throw error;
    }
  }
  return found.map(({ id }) => id);
}

/** Returns the last transaction in the binary log of the primary; empty without a binary log. */
async function readPosition(session: Session): Promise<string> {
  const [row] = await session.query<{ position: string }>('select @@global.gtid_binlog_pos as position');
  return row?.position ?? '';
}

/** Waits until a replica has replayed what the primary had written: from then on the replica refuses the login, too. */
async function waitForReplay(session: Session, position: string): Promise<void> {
  if (position === '') throw new TargetFailure('refused', 'the server with replicas has no binary log');
  for (;;) {
    const [row] = await session.query<{ result: number | null }>('select master_gtid_wait(?, ?) as result', [
      position,
      replayWaitSeconds,
    ]);
    if (row?.result === 0) return;
  }
}
