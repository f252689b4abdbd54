import { type Clock, delay } from '../platform/clock.ts';

/** The share of its running time that background work pauses. */
const pausedShare = 1 / 3;
/** Limits the pause, because a clock that is set forward makes a batch look long. */
const longestPauseMs = 1_000;

/**
 * Pauses after a batch of background work that began at `startedAt`, so that the database has time for requests. Ends as
 * soon as `signal` is aborted, so that a stop does not wait for the pause.
 */
export async function pauseBetweenBatches(clock: Clock, startedAt: Date, signal: AbortSignal): Promise<void> {
  const tookMs = clock.now().getTime() - startedAt.getTime();
  if (tookMs <= 0) return;
  const pauseMs = Math.ceil((tookMs * pausedShare) / (1 - pausedShare));
  await delay(clock, Math.min(pauseMs, longestPauseMs), signal);
}
