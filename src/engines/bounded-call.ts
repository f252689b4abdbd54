import { TargetFailure } from './target-failure.ts';

export interface Bounds {
  timeoutMs: number;
  /** Converts what `work` throws. */
  toFailure: (error: unknown) => TargetFailure;
}

/**
 * Runs one call to a target. The signal is aborted when its time is over, and the call fails with `timed-out` then, even if `work`
 * goes on. Throws only `TargetFailure`.
 */
export async function runBounded<T>(
  { timeoutMs, toFailure }: Bounds,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    return await unlessAborted(signal, work(signal), () => {});
  } catch (error) {
    if (!signal.aborted) throw toFailure(error);
    throw new TargetFailure('timed-out', `the target took longer than ${timeoutMs} ms`);
  }
}

/** Resolves like `promise`, or rejects when the signal is aborted; `discard` then gets a value that comes too late. */
export async function unlessAborted<T>(
  signal: AbortSignal,
  promise: Promise<T>,
  discard: (late: T) => unknown,
): Promise<T> {
  let stop = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
  });
  try {
    return await Promise.race([promise, aborted]);
  } catch (error) {
    if (signal.aborted) promise.then(discard, () => {});
    throw error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
