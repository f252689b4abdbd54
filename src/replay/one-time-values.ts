import { Batcher } from '../db/batcher.ts';
import type { HotStatements } from '../db/hot-statements.ts';
import type { Turns } from '../platform/turns.ts';
import { type OneTimeValue, useValues } from './store.ts';

export interface OneTimeValues {
  /** Whether nobody, on any replica, has used the value before. If so it is used now. Throws `overloaded`. */
  use(value: OneTimeValue): Promise<boolean>;
}

export interface OneTimeValuesDeps {
  hot: HotStatements;
  turns: Pick<Turns, 'afterTurn'>;
  /** Runs a write that may lack a partition, making it if so. */
  withPartitions: <T>(work: () => Promise<T>) => Promise<T>;
}

/**
 * The memory of what may be used once, in the database: one for all replicas. A value is used up before anything is done
 * for who brought it, whatever becomes of that.
 */
export function createOneTimeValues({ hot, turns, withPartitions }: OneTimeValuesDeps): OneTimeValues {
  const uses = new Batcher<OneTimeValue, boolean>({
    turns,
    run: (values) => withPartitions(() => useValues(hot, values)),
  });
  return { use: (value) => uses.submit(value) };
}
