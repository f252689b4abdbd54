import { describe, expect, it } from 'vitest';
import { createKeyedQueue } from '../../src/platform/keyed-queue.ts';

const full = new Error('full');
const bounds = { atOnce: 2, maxWaiting: 10, maxWaitingOfOne: 10, full };

/** Creates pieces of work, each of which ends when `end` is called with its name. */
function piecesOfWork() {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string) => () => {
    begun.push(name);
    return new Promise<string>((resolve) => ends.set(name, () => resolve(name)));
  };
  const end = async (...names: string[]): Promise<void> => {
    for (const name of names) ends.get(name)?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { begun, work, end };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('a keyed queue', () => {
  it('runs `atOnce` at a time, and the others in the order in which they were added', async () => {
    const { begun, work, end } = piecesOfWork();
    const { run } = createKeyedQueue(bounds);
    const all = ['a', 'b', 'c', 'd'].map((name) => run(name, work(name)));
    await turn();
    expect(begun).toEqual(['a', 'b']);
    await end('b');
    expect(begun).toEqual(['a', 'b', 'c']);
    await end('a', 'c');
    expect(begun).toEqual(['a', 'b', 'c', 'd']);
    await end('d');
    expect(await Promise.all(all)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('runs one of each key at a time, and other keys do not wait for it', async () => {
    const { begun, work, end } = piecesOfWork();
    const { run } = createKeyedQueue(bounds);
    const all = [run('a', work('a1')), run('a', work('a2')), run('b', work('b1')), run('c', work('c1'))];
    await turn();
    expect(begun).toEqual(['a1', 'b1']);
    await end('b1');
    expect(begun).toEqual(['a1', 'b1', 'c1']);
    await end('a1');
    expect(begun).toEqual(['a1', 'b1', 'c1', 'a2']);
    await end('c1', 'a2');
    expect(await Promise.all(all)).toEqual(['a1', 'a2', 'b1', 'c1']);
  });

  it.each([
    ['`maxWaiting` wait', { ...bounds, atOnce: 1, maxWaiting: 1 }, 'b'],
    ['`maxWaitingOfOne` of its key wait', { ...bounds, maxWaitingOfOne: 1 }, 'a'],
  ])('rejects work when %s, and accepts it again when other work has ended', async (_, options, key) => {
    const { begun, work, end } = piecesOfWork();
    const { run } = createKeyedQueue(options);
    const [first, second] = [run('a', work('1')), run('a', work('2'))];
    await turn();
    await expect(run(key, work('3'))).rejects.toBe(full);
    await end('1');
    const fourth = run(key, work('4'));
    await end('2');
    await end('4');
    expect(await Promise.all([first, second, fourth])).toEqual(['1', '2', '4']);
    expect(begun).toEqual(['1', '2', '4']);
  });

  it('begins work at once if there is a place, even if the queue of waiting work is full', async () => {
    const { work, end } = piecesOfWork();
    const { run } = createKeyedQueue({ ...bounds, maxWaiting: 1 });
    const all = [run('a', work('a1')), run('a', work('a2'))];
    expect(await run('b', async () => 'b1')).toBe('b1');
    await expect(run('a', work('a3'))).rejects.toBe(full);
    await end('a1');
    await end('a2');
    expect(await Promise.all(all)).toEqual(['a1', 'a2']);
  });

  it('runs `atOnceOfOne` of a key at a time', async () => {
    const { begun, work, end } = piecesOfWork();
    const { run } = createKeyedQueue({ ...bounds, atOnce: 3, atOnceOfOne: 2 });
    const all = ['a1', 'a2', 'a3', 'b1'].map((name) => run(name.charAt(0), work(name)));
    await turn();
    expect(begun).toEqual(['a1', 'a2', 'b1']);
    await end('b1');
    expect(begun).toEqual(['a1', 'a2', 'b1']);
    await end('a2');
    expect(begun).toEqual(['a1', 'a2', 'b1', 'a3']);
    await end('a1', 'a3');
    expect(await Promise.all(all)).toEqual(['a1', 'a2', 'a3', 'b1']);
  });

  it('gives the place of failed work to the next work', async () => {
    const { run } = createKeyedQueue({ ...bounds, atOnce: 1 });
    const failing = run('a', () => Promise.reject(new Error('no')));
    const after = run('a', async () => 'done');
    await expect(failing).rejects.toThrow('no');
    expect(await after).toBe('done');
    expect(await run('b', async () => 'again')).toBe('again');
  });
});

describe('a keyed queue in which nothing waits', () => {
  it.each([
    ['in all', { atOnce: 2, atOnceOfOne: 9 }, ['a', 'b'], 'c'],
    ['of one key', { atOnce: 9, atOnceOfOne: 2 }, ['a', 'a'], 'a'],
  ])('rejects work over the limit %s, until a place is free again', async (_, limits, keys, next) => {
    const { enter } = createKeyedQueue({ ...limits, full });
    const [leave] = await Promise.all(keys.map((key) => enter(key)));
    await expect(enter(next)).rejects.toBe(full);
    leave?.();
    await enter(next);
    await expect(enter(next)).rejects.toBe(full);
  });

  it('limits each key separately', async () => {
    const { enter } = createKeyedQueue({ atOnce: 9, full });
    const leave = await enter('a');
    await enter('b');
    await expect(enter('a')).rejects.toBe(full);
    leave();
    await enter('a');
  });

  it('takes places synchronously, in the order of the calls', async () => {
    const { enter } = createKeyedQueue({ atOnce: 1, full });
    const [first, second] = await Promise.allSettled([enter('a'), enter('b')]);
    expect([first?.status, second?.status]).toEqual(['fulfilled', 'rejected']);
  });
});
