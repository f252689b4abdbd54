import { describe, expect, it } from 'vitest';
import { addSeconds } from '../../src/platform/clock.ts';
import { isDue, nextAttemptAt } from '../../src/platform/retry.ts';

const now = new Date('2026-03-02T10:00:00Z');
const inSeconds = (seconds: number): Date => addSeconds(now, seconds);

describe('a failed attempt', () => {
  it('is retried 1 s later, then after twice as long each time, but at least every 5 minutes', () => {
    const waits = [1, 2, 3, 8, 9, 10, 5000].map((attempts) => nextAttemptAt(attempts, now));
    expect(waits).toEqual([1, 2, 4, 128, 256, 300, 300].map(inSeconds));
  });

  it('is not retried early, unless the time of its retry is later than any correct clock could have set', () => {
    const due = [null, 0, -1, 1, 300, 600, 601].map((seconds) =>
      isDue(seconds === null ? null : inSeconds(seconds), now),
    );
    expect(due).toEqual([true, true, true, false, false, false, true]);
  });
});
