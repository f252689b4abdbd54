import type { Clock } from './clock.ts';

export interface PacedOptions {
  clock: Pick<Clock, 'setTimer'>;
  /** The minimum delay, rounded up to whole ticks. */
  delayMs: number;
  tickMs: number;
  /** The most calls in one tick, in the order in which they were added. */
  perTick: number;
  /** The most calls that wait. Further ones are made at once. */
  maxWaiting: number;
}

export interface Paced {
  /**
   * Calls `run`, which must not throw, once: after this function has returned, or at once if `maxWaiting` calls
   * already wait.
   */
  put(run: () => void): void;
  readonly waiting: number;
}

interface Entry {
  dueTick: number;
  run: () => void;
}

/**
 * Delays work that can wait, and limits its rate, so that it takes no time from work that cannot. Time is counted in ticks,
 * so that a clock that is set back changes neither the order nor the delay.
 */
export function createPaced({ clock, delayMs, tickMs, perTick, maxWaiting }: PacedOptions): Paced {
  // One more tick, because the first tick may follow at once.
  const delayTicks = Math.ceil(delayMs / tickMs) + 1;
  let entries: Entry[] = [];
  let ticks = 0;
  let ticking = false;

  function tick(): void {
    ticks += 1;
    let count = 0;
    while (count < perTick && (entries[count]?.dueTick ?? Infinity) <= ticks) count += 1;
    const due = entries.slice(0, count);
    entries = entries.slice(count);
    ticking = entries.length > 0;
    if (ticking) clock.setTimer(tickMs, tick);
    for (const { run } of due) run();
  }

  return {
    get waiting() {
      return entries.length;
    },
    put(run) {
      if (entries.length >= maxWaiting) {
        run();
        return;
      }
      entries.push({ dueTick: ticks + delayTicks, run });
      if (ticking) return;
      ticking = true;
      clock.setTimer(tickMs, tick);
    },
  };
}
