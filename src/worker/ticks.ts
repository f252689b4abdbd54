import type { Clock, Timer } from '../platform/clock.ts';
import { slotsOf } from './slots.ts';

/** The longest wait before the clock is read again, because it may have been changed. */
const longestWaitMs = 60_000;

export interface Ticks {
  stop(): void;
}

/**
 * Calls `onTick` for every slot of `schedule` until stopped. Passes the scheduled time, not the time of the call, so
 * that all replicas use the same slots. If slots passed while the process slept, only the first is called, late: one
 * run of a job processes everything that is due. Throws if the schedule is not valid.
 *
 * node-cron only parses the expression. Its own timers (4.6) truncate times in the machine's zone, so that they stop,
 * in a busy loop, during the repeated hour when summer time ends, even with `timezone: 'UTC'`.
 */
export function startTicks({
  schedule,
  clock,
  onTick,
}: {
  schedule: string;
  clock: Clock;
  onTick: (slot: Date) => void;
}): Ticks {
  const nextSlot = slotsOf(schedule);
  let slot = nextSlot(clock.now());
  let timer: Timer;
  const arm = (): void => {
    const waitMs = slot.getTime() - clock.now().getTime();
    timer = clock.setTimer(Math.min(Math.max(waitMs, 0), longestWaitMs), look);
  };
  const look = (): void => {
    const now = clock.now();
    const due = slot <= now ? slot : undefined;
    slot = nextSlot(now);
    arm();
    if (due !== undefined) onTick(due);
  };
  arm();
  return { stop: () => timer.cancel() };
}
