import { describe, expect, it } from 'vitest';
import { createTurnstile } from '../../src/platform/turnstile.ts';

const full = new Error('full');
const bounds = { atOnce: 2, maxWaiting: 10, maxWaitingOfOne: 10, full };

/** Work that ends when it is told to. */
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

describe('a turnstile', () => {
  it('lets so many run at a time, and the others in the order they came', async () => {
    const { begun, work, end } = piecesOfWork();
    const { pass } = createTurnstile(bounds);
    const all = ['a', 'b', 'c', 'd'].map((name) => pass(name, work(name)));
    await turn();
    expect(begun).toEqual(['a', 'b']);
    await end('b');
    expect(begun).toEqual(['a', 'b', 'c']);
    await end('a', 'c');
    expect(begun).toEqual(['a', 'b', 'c', 'd']);
    await end('d');
    expect(await Promise.all(all)).toEqual(['a', 'b', 'c', 'd']);
  });

  it('lets one run of each key, and lets others past who waits for that', async () => {
    const { begun, work, end } = piecesOfWork();
    const { pass } = createTurnstile(bounds);
    const all = [pass('a', work('a1')), pass('a', work('a2')), pass('b', work('b1')), pass('c', work('c1'))];
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
    ['as many wait as may', { ...bounds, atOnce: 1, maxWaiting: 1 }, 'b'],
    ['as many wait of the same key as may', { ...bounds, maxWaitingOfOne: 1 }, 'a'],
  ])('sends away who comes when %s, and has room again when one is done', async (_, options, key) => {
    const { begun, work, end } = piecesOfWork();
    const { pass } = createTurnstile(options);
    const [first, second] = [pass('a', work('1')), pass('a', work('2'))];
    await turn();
    await expect(pass(key, work('3'))).rejects.toBe(full);
    await end('1');
    const fourth = pass(key, work('4'));
    await end('2');
    await end('4');
    expect(await Promise.all([first, second, fourth])).toEqual(['1', '2', '4']);
    expect(begun).toEqual(['1', '2', '4']);
  });

  it('gives the place on when work fails', async () => {
    const { pass } = createTurnstile({ ...bounds, atOnce: 1 });
    const failing = pass('a', () => Promise.reject(new Error('no')));
    const after = pass('a', async () => 'done');
    await expect(failing).rejects.toThrow('no');
    expect(await after).toBe('done');
    expect(await pass('b', async () => 'again')).toBe('again');
  });
});
