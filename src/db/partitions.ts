import { sql } from 'kysely';
import { addSeconds, type Clock } from '../platform/clock.ts';
import type { Db } from './database.ts';
import { sqlState, sqlStateOf } from './sqlstate.ts';

/** How far ahead partitions are created. */
const aheadSeconds = 7 * 24 * 3600;
/** A row that is written just after midnight may have a time just before it. */
const behindSeconds = 300;

/** Creates the missing partitions for the time from `from` to `until` (62 days at most). Returns how many. */
export async function ensurePartitions(db: Db, from: Date, until: Date): Promise<number> {
  const result = await sql<{ made: number }>`select ensure_partitions(${from}, ${until}) as made`.execute(db);
  return result.rows[0]?.made ?? 0;
}

/**
 * Creates the missing partitions from `now` until 7 days later, which is longer than the lifetime of any token.
 * Returns how many.
 */
export function ensurePartitionsAhead(db: Db, now: Date): Promise<number> {
  return ensurePartitions(db, addSeconds(now, -behindSeconds), addSeconds(now, aheadSeconds));
}

/**
 * Drops the partitions whose rows are all past their retention, both at `now` and by the database's clock. Returns
 * how many.
 */
export async function dropPartitions(db: Db, now: Date): Promise<number> {
  const result = await sql<{ dropped: number }>`select drop_partitions(${now}) as dropped`.execute(db);
  return result.rows[0]?.dropped ?? 0;
}

/**
 * Runs `work`. If a partition was missing, creates it and runs `work` again. `work` must open its own
 * transaction, because the first one was aborted.
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

/** Creates the partitions around the database's current time, for a write whose time is within seconds of it. */
export async function ensurePartitionsNow(db: Db): Promise<void> {
  await sql`select ensure_partitions(
    clock_timestamp() - ${behindSeconds} * interval '1 second',
    clock_timestamp() + ${aheadSeconds} * interval '1 second')`.execute(db);
}

/**
 * Whether the error is a missing partition: a check violation without a constraint name (ExecFindPartition in
 * PostgreSQL).
 */
export function isMissingPartition(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (sqlStateOf(error) !== sqlState.checkViolation) return isMissingPartition(error.cause);
  return !('constraint' in error) || error.constraint === undefined;
}
