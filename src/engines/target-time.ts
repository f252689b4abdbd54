import type { Clock } from '../platform/clock.ts';

/** Converts times between the broker's clock and the clock of a target, which may differ. */
export interface TargetTime {
  /** Returns the same instant on the target's clock, early by at most the time that reading the clock took. */
  toTarget(at: Date): Date;
  toBroker(at: Date): Date;
}

/** @param targetMs what the clock of the target has just answered, in milliseconds since 1970 */
export function createTargetTime(targetMs: number, clock: Clock): TargetTime {
  // The target read its clock before now, so the difference is too small rather than too large, and no account lives longer.
  const differenceMs = Math.floor(targetMs) - clock.now().getTime();
  return {
    toTarget: (at) => new Date(at.getTime() + differenceMs),
    toBroker: (at) => new Date(at.getTime() - differenceMs),
  };
}
