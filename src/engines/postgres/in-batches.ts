import { Batcher } from '../../platform/batcher.ts';
import { createKeyedQueue } from '../../platform/keyed-queue.ts';
import { TargetFailure } from '../target-failure.ts';

/** The most accounts in one message. */
const maxTogether = 50;
/** How many calls for one account alone run at the same time. The other connections are left to batches. */
const maxAlone = 2;

/** A way to do the same for one account and for many. */
export interface Ways<T> {
  /** Returns a result for each account that it is done with. */
  together: (names: string[]) => Promise<ReadonlyMap<string, T>>;
  /** Does it for an account that `together` was not done with. */
  alone: (name: string) => Promise<T>;
  /** How many may wait for `alone`; any number by default. Further ones fail at once, to be tried again later. */
  maxWaiting?: number;
}

const queueIsFull = new TargetFailure(
  'refused',
  'too many accounts at this target are being ended one at a time: this one is tried again',
);

/**
 * Returns a call for one account. Calls at the same time are done together, with few messages for all of them. What makes one
 * account hard to end, such as locks that its agent holds, must not delay the others: it is ended alone.
 */
export function inBatches<T>({
  together,
  alone,
  maxWaiting = Number.POSITIVE_INFINITY,
}: Ways<T>): (name: string) => Promise<T> {
  const batches = new Batcher<string, { result: T } | undefined>({
    turns: { afterTurn: (run) => void setImmediate(run) },
    maxRows: maxTogether,
    maxInFlight: 2,
    maxQueue: Number.POSITIVE_INFINITY,
    isOutage: isUnreachable,
    overloaded: queueIsFull,
    async run(names) {
      try {
        const done = await together(names);
        return names.map((name) => (done.has(name) ? { result: done.get(name) as T } : undefined));
      } catch (error) {
        if (isUnreachable(error)) throw error;
        return names.map(() => undefined);
      }
    },
  });
  const single = createKeyedQueue({
    atOnce: maxAlone,
    atOnceOfOne: maxAlone,
    maxWaiting,
    full: queueIsFull,
  });
  return async (name) => {
    const done = await batches.submit(name);
    return done === undefined ? single.run('alone', () => alone(name)) : done.result;
  };
}

function isUnreachable(error: unknown): boolean {
  return error instanceof TargetFailure && error.isUnreachable;
}
