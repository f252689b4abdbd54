import type { Clock } from './clock.ts';

/** Defers work to the end of the current turn of the event loop, so that all requests of the turn share it. */
export interface Turns {
  afterTurn(run: () => void): void;
  /**
   * Runs the deferred work now if the turn takes too long. Must be called often within a turn: with more than 1,024 sockets
   * ready, a turn lasts as long as more become ready, up to 48 rounds of 1,024 (libuv, uv__io_poll), which takes seconds.
   */
  beat(): void;
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
    beat() {
      if (waiting.length > 0 && clock.now().getTime() - since >= longestMs) flush();
    },
  };
}
