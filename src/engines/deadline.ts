import type { Clock } from '../platform/clock.ts';
import { TargetFailure } from './target-failure.ts';

/** Throws `deadline-passed` if no account may come into being any more. */
export function assertBefore(deadline: Date, clock: Clock): void {
  if (clock.now() < deadline) return;
  throw new TargetFailure('deadline-passed', 'the deadline passed before the account was made');
}
