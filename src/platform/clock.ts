/** A scheduled call that can be taken back. */
export interface Timer {
  cancel(): void;
}

/** The only source of time. Tests hand in a fake one and advance it. */
export interface Clock {
  /** The current instant, millisecond precision. */
  now(): Date;
  /** Calls `run` once after `delayMs` (0 .. 2^31-1; more would fire at once in Node, so it is clamped). */
  setTimer(delayMs: number, run: () => void): Timer;
}

const longestDelayMs = 2 ** 31 - 1;

/** The machine's clock. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => new Date(),
  setTimer(delayMs, run) {
    const handle = setTimeout(run, Math.min(Math.max(delayMs, 0), longestDelayMs));
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** NumericDate of RFC 7519 section 2: whole seconds, floored so that a claim never lies ahead of its instant. */
export function toEpochSeconds(instant: Date): number {
  return Math.floor(instant.getTime() / 1000);
}

/** The instant `seconds` after `instant` (negative: before it). */
export function addSeconds(instant: Date, seconds: number): Date {
  return new Date(instant.getTime() + seconds * 1000);
}

/** Resolves after `delayMs` of this clock's time. */
export function delay(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(delayMs, resolve);
  });
}
