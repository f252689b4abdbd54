import { describe, expect, it } from 'vitest';
import { addSeconds, delay, systemClock, toEpochSeconds } from '../../src/platform/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';

describe('clock', () => {
  it('rounds claims down, so that iat is never in the future', () => {
    expect(toEpochSeconds(new Date(1_999))).toBe(1);
    expect(toEpochSeconds(new Date(2_000))).toBe(2);
  });

  it('adds seconds in both directions', () => {
    expect(addSeconds(new Date(10_000), 5)).toEqual(new Date(15_000));
    expect(addSeconds(new Date(10_000), -5)).toEqual(new Date(5_000));
  });

  it('does not fire a timer at once when its delay is longer than Node supports', async () => {
    let fired = false;
    const timer = systemClock.setTimer(2 ** 31 + 5, () => {
      fired = true;
    });
    await new Promise((resolve) => setImmediate(() => setTimeout(resolve, 5)));
    timer.cancel();
    expect(fired).toBe(false);
  });

  it('fires a fake timer only when it is due, and never after it was cancelled', async () => {
    const clock = new FakeClock();
    const done = delay(clock, 1_000);
    const fired: string[] = [];
    clock.setTimer(500, () => fired.push('early'));
    clock.setTimer(700, () => fired.push('cancelled')).cancel();
    clock.advance(0.499);
    expect(fired).toEqual([]);
    clock.advance(1);
    await done;
    expect(fired).toEqual(['early']);
    expect(clock.timers).toBe(0);
  });
});
