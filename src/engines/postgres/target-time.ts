import type { Clock } from '../../platform/clock.ts';
import type { Session } from './connections.ts';

/** Converts times between the broker's clock and the clock of a target, which may differ. */
export interface TargetTime {
  /** Returns the same instant on the target's clock, early by at most the time that reading the clock took. */
  toTarget(at: Date): Date;
  toBroker(at: Date): Date;
}

/** Reads the clock of a target. */
export async function readTargetTime(session: Session, clock: Clock): Promise<TargetTime> {
  const { rows } = await session.query<{ ms: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms',
  );
  // The target read its clock before now, so the difference is too small rather than too large, and no account lives longer.
  const differenceMs = Math.floor(rows[0]?.ms ?? Number.NaN) - clock.now().getTime();
  return {
    toTarget: (at) => new Date(at.getTime() + differenceMs),
    toBroker: (at) => new Date(at.getTime() - differenceMs),
  };
}

/** Writes a time as a literal of type timestamptz. */
export function timestampLiteral(at: Date): string {
  return `'${at.toISOString()}'::timestamptz`;
}
