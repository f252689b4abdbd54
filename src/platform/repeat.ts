import type { Clock, Timer } from './clock.ts';

/** Work that is repeated until it is stopped. */
export interface Repeat {
  /** Starts no further run. Resolves when the current one has ended. */
  stop(): Promise<void>;
}

/**
 * Calls `run` every `intervalMs` after the end of the previous call, so that calls never overlap. Passes errors to
 * `onError` and continues.
 */
export function repeat(options: {
  clock: Clock;
  intervalMs: number;
  run: () => Promise<void>;
  onError: (error: unknown) => void;
}): Repeat {
  const { clock, intervalMs, run, onError } = options;
  let stopped = false;
  let timer: Timer | undefined;
  let underWay: Promise<void> = Promise.resolve();
  const schedule = (): void => {
    if (stopped) return;
    timer = clock.setTimer(intervalMs, () => {
      underWay = run().catch(onError).finally(schedule);
    });
  };
  schedule();
  return {
    async stop() {
      stopped = true;
      timer?.cancel();
      await underWay;
    },
  };
}
