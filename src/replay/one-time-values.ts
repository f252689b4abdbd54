import type { HotStatements } from '../db/hot-statements.ts';
import { statementBatches } from '../db/statement-batches.ts';
import { Batcher } from '../platform/batcher.ts';
import type { Turns } from '../platform/turns.ts';
import { type OneTimeValue, useValues } from './store.ts';

export interface OneTimeValues {
  /** Marks a value as used. Returns whether no replica had used it before. Throws `overloaded`. */
  use(value: OneTimeValue): Promise<boolean>;
}

export interface OneTimeValuesDeps {
  hot: HotStatements;
  turns: Pick<Turns, 'afterTurn'>;
  /** Runs a write, and creates its partition if that is missing. */
  withPartitions: <T>(work: () => Promise<T>) => Promise<T>;
}

/**
 * Stores which one-time values were used, in the database, for all replicas. A value counts as used before any work
 * is done for its request, even if the request then fails.
 */
export function createOneTimeValues({ hot, turns, withPartitions }: OneTimeValuesDeps): OneTimeValues {
  const uses = new Batcher<OneTimeValue, boolean>({
    ...statementBatches,
    turns,
    run: (values) => withPartitions(() => useValues(hot, values)),
  });
  return { use: (value) => uses.submit(value) };
}
