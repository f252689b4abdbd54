import { shareRuns } from '../platform/share-runs.ts';

export interface QueueRunnerOptions<Item> {
  /** The most items under way at the same time. */
  most: number;
  /** Claims up to `limit` items. */
  claim: (limit: number) => Promise<Item[]>;
  /** Begins the work on claimed items: returns a promise for each, which never rejects. */
  begin: (items: Item[]) => Promise<Promise<void>[]>;
  mayContinue: () => boolean;
  /** Called when nothing is under way any more. */
  onIdle: () => void;
  onError: (error: unknown) => void;
}

export interface QueueRunner {
  /** Claims and begins what is due, as far as there is room. Resolves to the number of items begun. */
  fill(): Promise<number>;
  /** Resolves when nothing is under way. */
  ended(): Promise<void>;
}

const mostPerClaim = 50;

/** Works on the items of a queue at the same time, so that one which takes long delays no other. */
export function createQueueRunner<Item>(options: QueueRunnerOptions<Item>): QueueRunner {
  const { most, onIdle, onError } = options;
  const items = new Set<Promise<void>>();
  const fills = new Set<Promise<number>>();
  let isFull = false;

  function leave<T>(all: Set<Promise<T>>, one: Promise<T>): void {
    all.delete(one);
    // Goes on once half of the places are free, so that claims stay large.
    if (isFull && items.size <= most / 2) void fill();
    else if (items.size + fills.size === 0) onIdle();
  }

  function enter<T>(all: Set<Promise<T>>, work: Promise<T>): Promise<T> {
    const entered: Promise<T> = work.finally(() => leave(all, entered));
    all.add(entered);
    return entered;
  }

  const claimAll = shareRuns(async () => {
    let begun = 0;
    for (isFull = false; options.mayContinue(); ) {
      const room = Math.min(most - items.size, mostPerClaim);
      isFull = room <= 0;
      if (isFull) break;
      const claimed = await options.claim(room);
      if (claimed.length > 0) for (const work of await options.begin(claimed)) void enter(items, work);
      begun += claimed.length;
      if (claimed.length < room) break;
    }
    return begun;
  });

  function fill(): Promise<number> {
    isFull = false;
    const claimed = claimAll().catch((error: unknown) => {
      onError(error);
      return 0;
    });
    return enter(fills, claimed);
  }

  return {
    fill,
    async ended() {
      while (items.size + fills.size > 0) await Promise.all([...items, ...fills]);
    },
  };
}
