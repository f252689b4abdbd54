import { describe, expect, it } from 'vitest';
import { keepAnswer } from '../../src/platform/keep-answer.ts';
import { FakeClock } from '../support/fake-clock.ts';

function counting() {
  const clock = new FakeClock();
  const pending: (() => void)[] = [];
  let begun = 0;
  const kept = keepAnswer({
    clock,
    keepMs: 1000,
    work: async () => {
      begun += 1;
      const mine = begun;
      await new Promise<void>((resolve) => pending.push(resolve));
      if (mine === 3) throw new Error('the third fails');
      return mine;
    },
  });
  const turn = async (): Promise<void> => {
    for (let i = 0; i < 20; i += 1) await Promise.resolve();
  };
  const nextTurn = async (): Promise<void> => {
    await turn();
    pending.shift()?.();
    await turn();
  };
  return { clock, kept, turn, nextTurn, begun: () => begun };
}

describe('a cached answer', () => {
  it('is computed once for all callers within the time, and again after it', async () => {
    const { clock, kept, nextTurn, begun } = counting();
    const first = [kept.read(), kept.read()];
    await nextTurn();
    clock.advance(0.999);
    expect(await Promise.all([...first, kept.read()])).toEqual([1, 1, 1]);
    clock.advance(0.001);
    const second = [kept.read(), kept.read()];
    await nextTurn();
    expect(await Promise.all(second)).toEqual([2, 2]);
    expect(begun()).toBe(2);
  });

  it('is never older than that, however long the work takes, and runs do not overlap', async () => {
    const { clock, kept, turn, nextTurn, begun } = counting();
    const early = kept.read();
    await turn();
    clock.advance(5);
    const late = [kept.read(), kept.read()];
    await nextTurn();
    expect(await early).toBe(1);
    await nextTurn();
    expect(await Promise.all(late)).toEqual([2, 2]);
    expect(begun()).toBe(2);
  });

  it('is also cached if it is a failure, but no longer', async () => {
    const { clock, kept, nextTurn, begun } = counting();
    for (const expected of [1, 2]) {
      const answer = kept.read();
      await nextTurn();
      expect(await answer).toBe(expected);
      clock.advance(1);
    }
    const failing = [kept.read(), kept.read()];
    await nextTurn();
    for (const one of failing) await expect(one).rejects.toThrow('the third fails');
    await expect(kept.read()).rejects.toThrow('the third fails');
    clock.advance(1);
    const fourth = kept.read();
    await nextTurn();
    expect([await fourth, begun()]).toEqual([4, 4]);
  });

  it('is computed again after it was dropped, and when the clock is set back', async () => {
    const { clock, kept, nextTurn } = counting();
    const first = kept.read();
    await nextTurn();
    expect(await first).toBe(1);
    kept.forget();
    const second = kept.read();
    await nextTurn();
    expect(await second).toBe(2);
    clock.advance(-10);
    const third = kept.read();
    await nextTurn();
    await expect(third).rejects.toThrow();
  });
});
