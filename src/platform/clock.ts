/** A scheduled call that can be cancelled. */
export interface Timer {
  cancel(): void;
}

/** The only source of time. Tests use a fake clock that they advance. */
export interface Clock {
  /** Returns the current time with millisecond precision. */
  now(): Date;
  /** Calls `run` once after `delayMs`, clamped to 0 .. 2^31-1, because Node would fire a longer timer at once. */
  setTimer(delayMs: number, run: () => void): Timer;
}

const longestDelayMs = 2 ** 31 - 1;

/** The system clock. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => new Date(),
  setTimer(delayMs, run) {
    const handle = setTimeout(run, Math.min(Math.max(delayMs, 0), longestDelayMs));
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/**
 * Converts a time to a NumericDate (RFC 7519 section 2): whole seconds, rounded down so that a claim is never in the
 * future.
 */
export function toEpochSeconds(instant: Date): number {
  return Math.floor(instant.getTime() / 1000);
}

/** Returns the time `seconds` after `instant`; before it if negative. */
export function addSeconds(instant: Date, seconds: number): Date {
  return new Date(instant.getTime() + seconds * 1000);
}

/** Resolves after `delayMs` on this clock, or as soon as `signal` is aborted. */
export function delay(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(delayMs, end);
    function end(): void {
      timer.cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    }
    signal?.addEventListener('abort', end);
    if (signal?.aborted === true) end();
  });
}
