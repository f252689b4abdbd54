import { describe, expect, it } from 'vitest';
import { createQueueRunner } from '../../src/leases/queue-runner.ts';

/** Lets everything run that waits for nothing from outside. */
async function turn(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Creates a runner with items 1 to `count` due. Each item is under way until the test ends it. */
function start({ count, most }: { count: number; most: number }) {
  const due = Array.from({ length: count }, (_, index) => index + 1);
  const ends = new Map<number, () => void>();
  const claims: number[] = [];
  const errors: unknown[] = [];
  const state = { mayContinue: true, idle: 0, failure: undefined as Error | undefined };
  const runner = createQueueRunner<number>({
    most,
    async claim(limit) {
      if (state.failure !== undefined) throw state.failure;
      const claimed = due.splice(0, limit);
      claims.push(claimed.length);
      return claimed;
    },
    begin: async (items) =>
      items.map(
        (item) => new Promise<void>((resolve) => ends.set(item, () => ends.delete(item) && resolve())),
      ),
    mayContinue: () => state.mayContinue,
    onIdle: () => {
      state.idle += 1;
    },
    onError: (error) => errors.push(error),
  });
  const end = (...items: number[]): void => {
    for (const item of items) ends.get(item)?.();
  };
  return { runner, due, claims, errors, state, end, underWay: () => [...ends.keys()] };
}

describe('a queue runner', () => {
  it('begins everything that is due at the same time, with few claims, and no more than it may', async () => {
    const { runner, claims, underWay, due } = start({ count: 130, most: 120 });
    expect(await runner.fill()).toBe(120);
    expect(claims).toEqual([50, 50, 20]);
    expect([underWay().length, due.length]).toEqual([120, 10]);
  });

  it('goes on while one item takes long', async () => {
    const { runner, underWay, end } = start({ count: 9, most: 4 });
    await runner.fill();
    end(2, 3, 4);
    await turn();
    expect(underWay()).toEqual([1, 5, 6, 7]);
    end(5, 6, 7);
    await turn();
    expect(underWay()).toEqual([1, 8, 9]);
  });

  it('claims again what becomes due while items are under way', async () => {
    const { runner, due, underWay } = start({ count: 2, most: 4 });
    await runner.fill();
    due.push(3);
    await runner.fill();
    expect(underWay()).toEqual([1, 2, 3]);
  });

  it('begins nothing more once it may not continue, and is idle when the last item has ended', async () => {
    const { runner, state, underWay, end } = start({ count: 9, most: 2 });
    await runner.fill();
    state.mayContinue = false;
    const ended = runner.ended();
    end(1, 2);
    await ended;
    expect(underWay()).toEqual([]);
    expect(await runner.fill()).toBe(0);
    expect(state.idle).toBeGreaterThan(0);
  });

  it('reports a claim that fails, and claims again when it is filled again', async () => {
    const { runner, state, errors } = start({ count: 1, most: 2 });
    state.failure = new Error('no database');
    expect(await runner.fill()).toBe(0);
    expect(errors).toEqual([state.failure]);
    state.failure = undefined;
    expect(await runner.fill()).toBe(1);
  });
});
