import type { Clock, Timer } from '../platform/clock.ts';
import { slotsOf } from './slots.ts';

/** The longest wait for a slot before the clock is looked at again: it may have been put forward or back. */
const longestWaitMs = 60_000;

export interface Ticks {
  stop(): void;
}

/**
 * Calls `onTick` for every slot of `schedule` until it is stopped. It is told the scheduled instant, never the one of
 * the call, so that replicas name a slot alike. A slot that passed while the process slept comes late; of several
 * only the first one does, since a job works off whatever is due. Throws if the schedule is not valid.
 *
 * node-cron only reads the expression. Its own timers (4.6) truncate the time in the machine's zone, so they stand
 * still, and spin, for the hour that comes twice when that zone leaves summer time, even with `timezone: 'UTC'`.
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
