import { addSeconds } from './clock.ts';

const maxBackoffSeconds = 300;

/** Returns the next attempt after `attempts` failures in a row: 1 s later, doubled each time, at most 5 minutes. */
export function nextAttemptAt(attempts: number, now: Date): Date {
  return addSeconds(now, Math.min(2 ** (attempts - 1), maxBackoffSeconds));
}

/** Returns the latest plausible time of a next attempt: a later one was written by a wrong clock. */
export function latestAttemptAt(now: Date): Date {
  return addSeconds(now, 2 * maxBackoffSeconds);
}

/** Whether an attempt is due at `now`. A time that no correct clock can have written is ignored. */
export function isDue(nextAttempt: Date | null, now: Date): boolean {
  return nextAttempt === null || nextAttempt <= now || nextAttempt > latestAttemptAt(now);
}
