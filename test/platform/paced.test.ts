import fc from 'fast-check';
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

describe('paced work', () => {
  it('runs after the delay and at most a tick later, in order, with a limit per tick, and leaves no timer', () => {
    const { clock, ran, put } = start();
    for (const n of [1, 2, 3, 4, 5]) put(n);
    clock.advance(0.25);
    expect(ran).toEqual([]);
    clock.advance(0.025);
    expect(ran).toEqual([1, 2]);
    clock.advance(0.025);
    expect(ran).toEqual([1, 2, 3, 4]);
    clock.advance(0.025);
    expect(ran).toEqual([1, 2, 3, 4, 5]);
    expect(clock.timers).toBe(0);
  });

  it('waits its own delay, however long other work has waited', () => {
    const { clock, ran, put } = start();
    put(1);
    clock.advance(0.21);
    put(2);
    clock.advance(0.065);
    expect(ran).toEqual([1]);
    clock.advance(0.184);
    expect(ran).toEqual([1]);
    clock.advance(0.026);
    expect(ran).toEqual([1, 2]);
    expect(clock.timers).toBe(0);
  });

  it('runs at once if too much work is already waiting', () => {
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

  it('may add further work', () => {
    const { clock, ran, paced } = start();
    paced.put(() => paced.put(() => ran.push(1)));
    clock.advance(0.3);
    expect(ran).toEqual([]);
    clock.advance(0.3);
    expect(ran).toEqual([1]);
    expect(clock.timers).toBe(0);
  });

  it('runs once and in order, even if the clock is wrong meanwhile', () => {
    const step = fc.oneof(fc.constant('put' as const), fc.integer({ min: 0, max: 400 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.array(fc.integer()), (steps, times) => {
        const clock = new FakeClock();
        // A clock whose timers work, but whose time is wrong.
        let asked = 0;
        const now = (): Date => new Date(times[asked++ % Math.max(times.length, 1)] ?? 0);
        const setTimer = clock.setTimer.bind(clock);
        const paced = createPaced({ ...options, maxWaiting: 100, clock: { setTimer, now } as FakeClock });
        const ran: number[] = [];
        let count = 0;
        for (const one of steps) {
          if (one === 'put') {
            const n = count++;
            paced.put(() => ran.push(n));
          } else clock.advance(one / 1000);
        }
        clock.advance(60);
        expect(ran).toEqual(Array.from({ length: count }, (_, n) => n));
      }),
    );
  });
});
