import { describe, expect, it } from 'vitest';
import { repeat } from '../../src/platform/repeat.ts';
import { FakeClock } from '../support/fake-clock.ts';

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('repeat', () => {
  it('runs after each interval, never concurrently, and continues after a failure', async () => {
    const clock = new FakeClock();
    const errors: unknown[] = [];
    let runs = 0;
    const failing = async (): Promise<void> => {
      runs += 1;
      throw new Error('no');
    };
    const job = repeat({ clock, intervalMs: 1000, run: failing, onError: (error) => errors.push(error) });
    for (const expected of [1, 2, 3]) {
      clock.advance(1);
      await nextTurn();
      expect([runs, errors.length]).toEqual([expected, expected]);
    }
    await job.stop();
  });

  it('waits for the current run when it is stopped, and leaves no timer', async () => {
    const clock = new FakeClock();
    let finish = (): void => {};
    const job = repeat({
      clock,
      intervalMs: 1000,
      run: () => new Promise((resolve) => (finish = resolve)),
      onError: () => {},
    });
    clock.advance(5);
    let stopped = false;
    const stopping = job.stop().then(() => {
      stopped = true;
    });
    await nextTurn();
    expect(stopped).toBe(false);
    finish();
    await stopping;
    clock.advance(10);
    expect(clock.timers).toBe(0);
  });
});
