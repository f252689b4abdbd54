import { sql } from 'kysely';
import { addSeconds, type Clock } from '../platform/clock.ts';
import type { Db } from './database.ts';
import { sqlState, sqlStateOf } from './sqlstate.ts';

/** How far ahead partitions are made. */
const aheadSeconds = 7 * 24 * 3600;
/** A row that is written just after midnight may carry a time from just before it. */
const behindSeconds = 300;

/** Makes the partitions that hold the instants from `from` to `until` (62 days at most) and are missing; answers how many. */
export async function ensurePartitions(db: Db, from: Date, until: Date): Promise<number> {
  const result = await sql<{ made: number }>`select ensure_partitions(${from}, ${until}) as made`.execute(db);
  return result.rows[0]?.made ?? 0;
}

/** Makes what is missing from `now` until 7 days later: longer than any token lives. Answers how many it made. */
export function ensurePartitionsAhead(db: Db, now: Date): Promise<number> {
  return ensurePartitions(db, addSeconds(now, -behindSeconds), addSeconds(now, aheadSeconds));
}

/** Drops the partitions of which every row is past its retention at `now`, and by the database's clock; answers how many. */
export async function dropPartitions(db: Db, now: Date): Promise<number> {
  const result = await sql<{ dropped: number }>`select drop_partitions(${now}) as dropped`.execute(db);
  return result.rows[0]?.dropped ?? 0;
}

/**
 * Runs `work`; if a row of it found no partition, makes the missing ones and runs it once more. `work` opens its
 * transaction itself, since the first one is lost.
 */
export async function withPartitions<T>(db: Db, clock: Clock, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isMissingPartition(error)) throw error;
    await ensurePartitionsAhead(db, clock.now());
    return work();
  }
}

/**
 * Makes the partitions of the days around the database's own present: for writes that carry no clock of ours, whose
 * times are within seconds of it.
 */
export async function ensurePartitionsNow(db: Db): Promise<void> {
  await sql`select ensure_partitions(
    clock_timestamp() - ${behindSeconds} * interval '1 second',
    clock_timestamp() + ${aheadSeconds} * interval '1 second')`.execute(db);
}

/** Whether a row found no partition: the SQLSTATE of a check violation without a constraint (ExecFindPartition). */
export function isMissingPartition(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (sqlStateOf(error) !== sqlState.checkViolation) return isMissingPartition(error.cause);
  return !('constraint' in error) || error.constraint === undefined;
}
