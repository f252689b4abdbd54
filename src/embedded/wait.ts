import { type Clock, delay } from '../platform/clock.ts';

/** Waits `delayMs` on the clock. Unlike the clock's own timers, it keeps the process alive meanwhile. */
export async function pause(clock: Clock, delayMs: number): Promise<void> {
  const hold = setInterval(() => {}, 60_000);
  try {
    await delay(clock, delayMs);
  } finally {
    clearInterval(hold);
  }
}
