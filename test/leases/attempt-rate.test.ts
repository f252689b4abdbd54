import { describe, expect, it } from 'vitest';
import { createAttemptRate } from '../../src/leases/attempt-rate.ts';

type Rate = ReturnType<typeof createAttemptRate>;

/** Claims for a queue with enough due, and returns how many it got. Its name is noted when it may go on. */
function createQueues(rate: Rate) {
  const wentOn: string[] = [];
  const ask = async (name: string, limit: number, phase: 'disable' | 'clean-up' = 'disable') => {
    const claim = (count: number) => Promise.resolve(Array.from({ length: count }, (_, n) => n));
    const claimed = await rate.claim(phase, limit, { claim, goOn: () => wentOn.push(name) });
    return claimed.length;
  };
  return { wentOn, ask };
}

function createLimited() {
  const rate = createAttemptRate();
  rate.refill();
  return { rate, ...createQueues(rate) };
}

describe('the rate of attempts to end leases', () => {
  it('is not limited before the worker starts', async () => {
    const { ask } = createQueues(createAttemptRate());
    expect(await ask('a', 100_000)).toBe(100_000);
  });

  it('permits 1,000 ends of access at once, then 50 in each tenth of a second', async () => {
    const { rate, ask } = createLimited();
    expect(await ask('a', 2_000)).toBe(1_000);
    expect(await ask('a', 2_000)).toBe(0);
    rate.refill();
    expect(await ask('a', 2_000)).toBe(50);
    for (let n = 0; n < 100; n += 1) rate.refill();
    expect(await ask('a', 2_000)).toBe(1_000);
  });

  it('limits the removal of accounts apart from the end of access', async () => {
    const { rate, ask } = createLimited();
    expect(await ask('a', 2_000, 'clean-up')).toBe(200);
    expect(await ask('a', 2_000, 'clean-up')).toBe(0);
    expect(await ask('a', 10)).toBe(10);
    rate.refill();
    expect(await ask('a', 2_000, 'clean-up')).toBe(20);
  });

  it('lets queues that got less than they asked for go on, in the order in which they began to wait', async () => {
    const { rate, ask, wentOn } = createLimited();
    await ask('full', 1_000);
    for (const name of ['b', 'c', 'b']) await ask(name, 50);
    rate.refill();
    expect(wentOn).toEqual(['b', 'c', 'b']);
    rate.refill();
    expect(wentOn).toHaveLength(3);
  });

  it('gives back what a queue did not use, or could not claim', async () => {
    const { rate, ask } = createLimited();
    const goOn = () => {};
    await rate.claim('disable', 1_000, { claim: () => Promise.resolve([1]), goOn });
    expect(await ask('a', 2_000)).toBe(999);
    for (let n = 0; n < 20; n += 1) rate.refill();
    const failing = rate.claim('disable', 1_000, { claim: () => Promise.reject(new Error('down')), goOn });
    await expect(failing).rejects.toThrow('down');
    expect(await ask('a', 2_000)).toBe(1_000);
  });
});
