import { setTimeout as pause } from 'node:timers/promises';
import { Refusal } from '../errors.ts';
import type { Db, Tx } from './database.ts';
import { ensurePartitionsNow, isMissingPartition } from './partitions.ts';
import { sqlState, sqlStateOf } from './sqlstate.ts';

const retried: ReadonlySet<string> = new Set([sqlState.serializationFailure, sqlState.deadlockDetected]);
const maxAttempts = 5;

/**
 * Returns the pause before a retry in milliseconds. The transaction that waited for the locks must get them first, or
 * the two deadlock again.
 */
const victimPause = (attempt: number): number => 10 * attempt;

/**
 * Runs `work` in one READ COMMITTED transaction, with the retries of `withRetries`. If `work` returns a `Refusal`,
 * commits and then throws its error, so that the audit event of the refusal is kept. An exception rolls everything
 * back. So `work` must have no effect outside `tx`.
 */
export async function withTransaction<T>(db: Db, work: (tx: Tx) => Promise<T | Refusal>): Promise<T> {
  const result = await withRetries(db, () =>
    db.transaction().setIsolationLevel('read committed').execute(work),
  );
  if (result instanceof Refusal) throw result.error;
  return result;
}

/**
 * Runs `work`, which must be one transaction or one statement. Serialization failures and deadlocks (40001, 40P01) are
 * retried, up to 5 attempts in all, and so is a missing partition, after it was created.
 */
export async function withRetries<T>(db: Db, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === maxAttempts) throw error;
      if (isMissingPartition(error) && attempt === 1) await ensurePartitionsNow(db);
      else if (retried.has(sqlStateOf(error) ?? '')) await pause(victimPause(attempt));
      else throw error;
    }
  }
}
