import { Refusal } from '../errors.ts';
import type { Db, Tx } from './database.ts';
import { sqlState, sqlStateOf } from './sqlstate.ts';

const retried: ReadonlySet<string> = new Set([sqlState.serializationFailure, sqlState.deadlockDetected]);
const maxAttempts = 5;

/**
 * Runs `work` in one READ COMMITTED transaction. Commits what it did, also when it answers a `Refusal`, whose
 * error is then thrown: so the audit event of a refusal is kept. An exception rolls everything back.
 * Serialization failures and deadlocks (40001, 40P01) are tried again, up to 5 times in all; `work` must
 * therefore have no effect outside `tx`.
 */
export async function withTransaction<T>(db: Db, work: (tx: Tx) => Promise<T | Refusal>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const result = await db.transaction().setIsolationLevel('read committed').execute(work);
      if (result instanceof Refusal) throw result.error;
      return result;
    } catch (error) {
      const state = sqlStateOf(error);
      if (state === undefined || !retried.has(state) || attempt === maxAttempts) throw error;
    }
  }
}
