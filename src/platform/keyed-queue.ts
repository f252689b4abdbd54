export interface KeyedQueueOptions {
  /** The most work that may run at a time, in total. */
  atOnce: number;
  /** The most work of one key that may run at a time; 1 by default. */
  atOnceOfOne?: number;
  /** The most work that may wait, in total; 0 by default. */
  maxWaiting?: number;
  /** The most work of one key that may wait; `maxWaiting` by default. */
  maxWaitingOfOne?: number;
  /** The error thrown when the queue is full. */
  full: Error;
}

export interface KeyedQueue {
  /**
   * Takes a place, and waits for it if necessary. Resolves to the function that gives the place back, which must be called
   * exactly once. Rejects with `full` if nothing more may wait.
   */
  enter(key: string): Promise<() => void>;
  /**
   * Runs `work` in a place and gives the place back, also if `work` fails. Has the result of `work`, or rejects with
   * `full`.
   */
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
}

interface Waiting {
  key: string;
  begin: () => void;
}

/** Counts the running work, in total and of each key. */
function createPlaces(max: number, maxOfOne: number) {
  const taken = new Map<string, number>();
  let takenInAll = 0;
  return {
    hasRoom: (key: string): boolean => takenInAll < max && (taken.get(key) ?? 0) < maxOfOne,
    take(key: string): void {
      takenInAll += 1;
      taken.set(key, (taken.get(key) ?? 0) + 1);
    },
    giveBack(key: string): void {
      takenInAll -= 1;
      const left = (taken.get(key) ?? 1) - 1;
      if (left === 0) taken.delete(key);
      else taken.set(key, left);
    },
  };
}

/**
 * Creates a queue that limits how much work runs and how much waits, in all and for each key, so that one key cannot delay
 * the others. Work begins in the order in which it was added, but does not wait for work that waits for its own key. Without
 * `maxWaiting` nothing waits: work either begins at once or is rejected.
 */
export function createKeyedQueue(options: KeyedQueueOptions): KeyedQueue {
  const { atOnce, atOnceOfOne = 1, maxWaiting = 0, maxWaitingOfOne = maxWaiting, full } = options;
  const running = createPlaces(atOnce, atOnceOfOne);
  const waiting: Waiting[] = [];

  /** Begins the first waiting work that can begin. It takes the place at once, before any work that is added later. */
  function beginNext(): void {
    const index = waiting.findIndex((entry) => running.hasRoom(entry.key));
    const [next] = index === -1 ? [] : waiting.splice(index, 1);
    if (next === undefined) return;
    running.take(next.key);
    next.begin();
  }

  function wait(key: string): Promise<void> {
    const ofOne = waiting.filter((entry) => entry.key === key).length;
    if (waiting.length >= maxWaiting || ofOne >= maxWaitingOfOne) throw full;
    return new Promise((resolve) => {
      waiting.push({ key, begin: resolve });
    });
  }

  async function enter(key: string): Promise<() => void> {
    // Invariant: no waiting work can begin now, so the new work overtakes only work that waits for its own key.
    if (running.hasRoom(key)) running.take(key);
    else await wait(key);
    return () => {
      running.giveBack(key);
      beginNext();
    };
  }

  return {
    enter,
    async run(key, work) {
      const leave = await enter(key);
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}
