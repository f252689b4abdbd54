import { describe, expect, it } from 'vitest';
import { createPaced } from '../../src/platform/paced.ts';
import { FakeClock } from '../support/fake-clock.ts';

const options = { delayMs: 250, tickMs: 25, perTick: 2, maxWaiting: 5 };

function start() {
  const clock = new FakeClock();
  const ran: number[] = [];
  const paced = createPaced({ ...options, clock });
  return { clock, ran, paced, put: (n: number) => paced.put(() => ran.push(n)) };
}

describe('what is put off', () => {
  it('runs after the delay, in order, so many in a tick, and leaves no timer', () => {
    const { clock, ran, put } = start();
    for (const n of [1, 2, 3, 4, 5]) put(n);
    clock.advance(0.249);
    expect(ran).toEqual([]);
    clock.advance(0.001);
    expect(ran).toEqual([1, 2]);
    clock.advance(0.025);
    expect(ran).toEqual([1, 2, 3, 4]);
    clock.advance(0.025);
    expect(ran).toEqual([1, 2, 3, 4, 5]);
    expect(clock.timers).toBe(0);
  });

  it('waits its own delay, however long others have waited', () => {
    const { clock, ran, put } = start();
    put(1);
    clock.advance(0.2);
    put(2);
    clock.advance(0.05);
    expect(ran).toEqual([1]);
    clock.advance(0.199);
    expect(ran).toEqual([1]);
    clock.advance(0.026);
    expect(ran).toEqual([1, 2]);
    expect(clock.timers).toBe(0);
  });

  it('runs at once when too much waits already', () => {
    const { clock, ran, paced, put } = start();
    for (const n of [1, 2, 3, 4, 5, 6]) put(n);
    expect(ran).toEqual([6]);
    expect(paced.waiting).toBe(5);
    clock.advance(1);
    expect(ran).toEqual([6, 1, 2, 3, 4, 5]);
    put(7);
    clock.advance(1);
    expect(ran.at(-1)).toBe(7);
  });

  it('may put off something again', () => {
    const { clock, ran, paced } = start();
    paced.put(() => paced.put(() => ran.push(1)));
    clock.advance(0.3);
    expect(ran).toEqual([]);
    clock.advance(0.3);
    expect(ran).toEqual([1]);
    expect(clock.timers).toBe(0);
  });
});
