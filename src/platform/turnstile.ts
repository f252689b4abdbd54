export interface TurnstileOptions {
  /** So many are under way at a time. */
  atOnce: number;
  /** So many wait at most, in the order they came. */
  maxWaiting: number;
  /** Thrown at who comes when as many wait. */
  full: Error;
}

export interface Turnstile {
  /** Runs `work` when it is its turn. Rejects with `full`. */
  pass<T>(work: () => Promise<T>): Promise<T>;
}

/** Bounds work that takes long of what others need, too. */
export function createTurnstile({ atOnce, maxWaiting, full }: TurnstileOptions): Turnstile {
  const waiting: (() => void)[] = [];
  let underWay = 0;

  return {
    async pass(work) {
      if (underWay >= atOnce && waiting.length >= maxWaiting) throw full;
      // Who waited is handed the place of whoever was done, so that nobody who comes meanwhile is first.
      if (underWay >= atOnce) await new Promise<void>((resolve) => waiting.push(resolve));
      else underWay += 1;
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        if (next === undefined) underWay -= 1;
        else next();
      }
    },
  };
}
