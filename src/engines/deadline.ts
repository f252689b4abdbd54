import type { Clock } from '../platform/clock.ts';
import { TargetFailure } from './target-failure.ts';

/** Throws `deadline-passed` if the target must not be changed any more. */
export function assertBefore(deadline: Date, clock: Clock): void {
  if (clock.now() < deadline) return;
  throw new TargetFailure('deadline-passed', 'the deadline passed before the change was complete');
}
