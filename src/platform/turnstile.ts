export interface TurnstileOptions {
  /** So many are under way at a time, of different keys. */
  atOnce: number;
  /** So many wait at most: of all, and of one key. */
  maxWaiting: number;
  maxWaitingOfOne: number;
  /** Thrown at who comes when as many wait. */
  full: Error;
}

export interface Turnstile {
  /** Runs `work` when it is its turn: one at a time of each key, in the order they came. Rejects with `full`. */
  pass<T>(key: string, work: () => Promise<T>): Promise<T>;
}

interface Waiting {
  key: string;
  begin: () => void;
}

/** Bounds work that takes long of what others need, too; who brings much of it is in nobody's way but their own. */
export function createTurnstile(options: TurnstileOptions): Turnstile {
  const { atOnce, maxWaiting, maxWaitingOfOne, full } = options;
  const underWay = new Set<string>();
  const waiting: Waiting[] = [];

  /** The place is taken for the next one before anybody who comes meanwhile can have it. */
  function letIn(): void {
    while (underWay.size < atOnce) {
      const next = waiting.findIndex(({ key }) => !underWay.has(key));
      const [entry] = next === -1 ? [] : waiting.splice(next, 1);
      if (entry === undefined) return;
      underWay.add(entry.key);
      entry.begin();
    }
  }

  return {
    async pass(key, work) {
      const ofOne = waiting.filter((entry) => entry.key === key).length;
      if (waiting.length >= maxWaiting || ofOne >= maxWaitingOfOne) throw full;
      await new Promise<void>((resolve) => {
        waiting.push({ key, begin: resolve });
        letIn();
      });
      try {
        return await work();
      } finally {
        underWay.delete(key);
        letIn();
      }
    },
  };
}
