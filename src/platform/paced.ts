import type { Clock } from './clock.ts';

export interface PacedOptions {
  clock: Pick<Clock, 'setTimer'>;
  /** How long each is put off at least, in whole ticks. */
  delayMs: number;
  tickMs: number;
  /** So many are run in a tick at most, in the order in which they came. */
  perTick: number;
  /** More do not wait: they are run at once. */
  maxWaiting: number;
}

export interface Paced {
  /** Has `run`, which must not throw, called later, once: never before this returns, unless too many wait. */
  put(run: () => void): void;
  readonly waiting: number;
}

interface Entry {
  dueTick: number;
  run: () => void;
}

/**
 * Runs what can wait a while later and at a bounded rate, so that it takes no time from what cannot. Time is counted in
 * ticks of its own: a clock that is set back must not put the order, or anybody's end, in question.
 */
export function createPaced({ clock, delayMs, tickMs, perTick, maxWaiting }: PacedOptions): Paced {
  // What came just before a tick has waited no tick by then.
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
