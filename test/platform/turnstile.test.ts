import { describe, expect, it } from 'vitest';
import { createTurnstile } from '../../src/platform/turnstile.ts';

const full = new Error('full');

/** Work that ends when it is told to. */
function piecesOfWork() {
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const work = (n: number) => () => {
    begun.push(n);
    return new Promise<number>((resolve) => {
      ends[n] = () => resolve(n);
    });
  };
  return { begun, ends, work };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('a turnstile', () => {
  it('lets so many run at a time, and the others in the order they came', async () => {
    const { begun, ends, work } = piecesOfWork();
    const turnstile = createTurnstile({ atOnce: 2, maxWaiting: 10, full });
    const all = [0, 1, 2, 3].map((n) => turnstile.pass(work(n)));
    expect(begun).toEqual([0, 1]);
    ends[1]?.();
    await turn();
    expect(begun).toEqual([0, 1, 2]);
    ends[2]?.();
    ends[0]?.();
    await turn();
    expect(begun).toEqual([0, 1, 2, 3]);
    ends[3]?.();
    expect(await Promise.all(all)).toEqual([0, 1, 2, 3]);
  });

  it('sends away who comes when as many wait as may, and has room again when one is done', async () => {
    const { begun, ends, work } = piecesOfWork();
    const turnstile = createTurnstile({ atOnce: 1, maxWaiting: 1, full });
    const first = turnstile.pass(work(0));
    const second = turnstile.pass(work(1));
    await expect(turnstile.pass(work(2))).rejects.toBe(full);
    ends[0]?.();
    await first;
    const third = turnstile.pass(work(3));
    ends[1]?.();
    await second;
    ends[3]?.();
    await third;
    expect(begun).toEqual([0, 1, 3]);
  });

  it('gives the place on when work fails', async () => {
    const turnstile = createTurnstile({ atOnce: 1, maxWaiting: 1, full });
    const failing = turnstile.pass(() => Promise.reject(new Error('no')));
    const after = turnstile.pass(async () => 'done');
    await expect(failing).rejects.toThrow('no');
    expect(await after).toBe('done');
    expect(await turnstile.pass(async () => 'again')).toBe('again');
  });
});
