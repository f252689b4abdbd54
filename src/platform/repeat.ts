import type { Clock, Timer } from './clock.ts';

/** Something that is done again and again until it is stopped. */
export interface Repeat {
  /** No further run begins; resolves when the one under way has ended. */
  stop(): Promise<void>;
}

/**
 * Calls `run` every `intervalMs` after the end of the call before it, so that runs never overlap. What it throws
 * goes to `onError` and ends nothing.
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
