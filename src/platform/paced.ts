import type { Clock } from './clock.ts';

export interface PacedOptions {
  clock: Clock;
  /** How long each is put off at least. */
  delayMs: number;
  tickMs: number;
  /** So many are run in a tick at most, in the order in which they came. */
  perTick: number;
  /** More do not wait: they are run at once. */
  maxWaiting: number;
}

export interface Paced {
  /** Has `run`, which must not throw, called later: never before this returns, unless too many wait. */
  put(run: () => void): void;
  readonly waiting: number;
}

interface Entry {
  dueMs: number;
  run: () => void;
}

/** Runs what can wait a while later and at a bounded rate, so that it takes no time from what cannot. */
export function createPaced({ clock, delayMs, tickMs, perTick, maxWaiting }: PacedOptions): Paced {
  let entries: Entry[] = [];
  let ticking = false;

  function tick(): void {
    const now = clock.now().getTime();
    const due = entries.slice(0, perTick).filter(({ dueMs }) => dueMs <= now);
    entries = entries.slice(due.length);
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
      entries.push({ dueMs: clock.now().getTime() + delayMs, run });
      if (ticking) return;
      ticking = true;
      clock.setTimer(delayMs, tick);
    },
  };
}
