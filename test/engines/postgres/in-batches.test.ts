import { describe, expect, it } from 'vitest';
import { inBatches } from '../../../src/engines/postgres/in-batches.ts';
import { TargetFailure } from '../../../src/engines/target-failure.ts';

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `a${index}`);
const isDone = (name: string): [string, string] => [name, `done ${name}`];

describe('calls for accounts in batches', () => {
  it('are made together if they come at the same time, and each gets its own result', async () => {
    const batches: string[][] = [];
    const call = inBatches({
      together: async (batch) => {
        batches.push(batch);
        return new Map(batch.map(isDone));
      },
      alone: async () => 'alone',
    });
    expect(await Promise.all(names(20).map(call))).toEqual(names(20).map((name) => `done ${name}`));
    expect(batches).toEqual([names(20)]);
  });

  it('are made alone for the accounts that the batch was not done with, at most two at a time', async () => {
    let running = 0;
    let most = 0;
    const call = inBatches({
      together: async (batch) => new Map(batch.filter((name) => name === 'a0').map(isDone)),
      async alone(name) {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        return `alone ${name}`;
      },
    });
    expect(await Promise.all(names(5).map(call))).toEqual([
      'done a0',
      'alone a1',
      'alone a2',
      'alone a3',
      'alone a4',
    ]);
    expect(most).toBe(2);
  });

  it('are made alone if the batch fails for a reason that one account may be, so that the others succeed', async () => {
    const failure = new TargetFailure('refused', 'a statement failed');
    const call = inBatches({
      together: () => Promise.reject(failure),
      alone: (name) => (name === 'a1' ? Promise.reject(failure) : Promise.resolve(name)),
    });
    const results = await Promise.allSettled(names(3).map(call));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  });

  it('fail at once if too many wait to be made alone, so that accounts that are hard to end keep no places', async () => {
    const call = inBatches<string>({
      together: async (batch) => new Map(batch.filter((name) => name === 'a99').map(isDone)),
      alone: () => new Promise(() => {}),
      maxWaiting: 10,
    });
    const failed: unknown[] = [];
    for (const name of names(99)) void call(name).catch((error: unknown) => failed.push(error));
    expect(await call('a99')).toBe('done a99');
    await new Promise((resolve) => setImmediate(resolve));
    expect(failed).toHaveLength(99 - 2 - 10);
    expect(failed[0]).toMatchObject({ problem: 'refused', isUnreachable: false });
  });

  it('fail together if the target cannot be reached: it is not called again for each', async () => {
    const failure = new TargetFailure('unreachable', 'connection refused');
    let alone = 0;
    const call = inBatches({
      together: () => Promise.reject(failure),
      alone: async () => {
        alone += 1;
      },
    });
    const results = await Promise.allSettled(names(3).map(call));
    expect(results).toEqual(names(3).map(() => ({ status: 'rejected', reason: failure })));
    expect(alone).toBe(0);
  });
});
