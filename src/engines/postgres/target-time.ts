import type { Clock } from '../../platform/clock.ts';
import { createTargetTime, type TargetTime } from '../target-time.ts';
import type { Session } from './connections.ts';

/** Reads the clock of a target. */
export async function readTargetTime(session: Session, clock: Clock): Promise<TargetTime> {
  const { rows } = await session.query<{ ms: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms',
  );
  return createTargetTime(rows[0]?.ms ?? Number.NaN, clock);
}

/** Writes a time as a literal of type timestamptz. */
export function timestampLiteral(at: Date): string {
  return `'${at.toISOString()}'::timestamptz`;
}
