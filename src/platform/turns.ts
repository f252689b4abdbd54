import type { Clock } from './clock.ts';

/** Defers work to the end of the current turn of the event loop, so that all requests that are read in the turn share that work. */
export interface Turns {
  afterTurn(run: () => void): void;
  /**
   * Runs the deferred work now if the turn has taken too long. Must be called often within a turn: if 1,024 or more sockets are ready, libuv
   * polls again in the same turn, up to 48 times (uv__io_poll), so a turn can take seconds.
   */
  flushIfLate(): void;
}

/** The time after which a turn is too long; an ordinary turn is shorter. */
const longestMs = 10;

export function createTurns(clock: Pick<Clock, 'now'>): Turns {
  let waiting: (() => void)[] = [];
  let since = 0;

  function flush(): void {
    const due = waiting;
    waiting = [];
    for (const run of due) run();
  }

  return {
    afterTurn(run) {
      waiting.push(run);
      if (waiting.length > 1) return;
      since = clock.now().getTime();
      setImmediate(flush);
    },
    flushIfLate() {
      if (waiting.length > 0 && clock.now().getTime() - since >= longestMs) flush();
    },
  };
}
