import type { Clock } from './clock.ts';

/** Work that is put off to the end of the present turn of the event loop, so that what the turn brings shares it. */
export interface Turns {
  afterTurn(run: () => void): void;
  /**
   * For who is called often within a turn: runs what has waited too long for its end. With more than 1,024 sockets ready,
   * a turn goes on for as long as they keep coming, up to 48 rounds of as many (libuv, uv__io_poll): seconds.
   */
  beat(): void;
}

/** A turn of ordinary length is over by then. */
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
