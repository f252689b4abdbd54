import { addSeconds, type Clock } from '../platform/clock.ts';

/** How long an unreachable target is left alone: it doubles with each failure. */
const firstPauseSeconds = 1;
const longestPauseSeconds = 10;

export type Outages = ReturnType<typeof createOutages>;

/** Remembers which targets this replica could not reach, and until when it leaves them alone. */
export function createOutages(clock: Clock) {
  const outages = new Map<string, { until: Date; failures: number }>();
  const isPaused = (connectionId: string): boolean => {
    const until = outages.get(connectionId)?.until;
    return until !== undefined && until > clock.now();
  };
  return {
    isPaused,
    notice(connectionId: string, isOutage: boolean): void {
      if (!isOutage) {
        outages.delete(connectionId);
        return;
      }
      // Attempts at the same time notice the same outage.
      if (isPaused(connectionId)) return;
      const failures = (outages.get(connectionId)?.failures ?? 0) + 1;
      const seconds = Math.min(firstPauseSeconds * 2 ** (failures - 1), longestPauseSeconds);
      outages.set(connectionId, { until: addSeconds(clock.now(), seconds), failures });
    },
  };
}
