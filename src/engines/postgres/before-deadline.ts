import { TargetFailure } from '../target-failure.ts';
import type { TargetTime } from '../target-time.ts';
import type { Session } from './connections.ts';
import { sqlState, sqlStateOf } from './failure.ts';
import { timestampLiteral } from './target-time.ts';

/**
 * Runs statements as one message, which the server runs as one transaction: a broker that pauses after sending it changes
 * nothing after the deadline. The server's clock is checked first and last, because the message or the locks may have taken
 * long. Throws `deadline-passed`. No statement may divide.
 */
export async function runBeforeDeadline(
  session: Session,
  statements: readonly string[],
  { deadline, time }: { deadline: Date; time: TargetTime },
): Promise<void> {
  // Division by zero is the shortest error that needs no procedural language.
  const check = `select 1 / (clock_timestamp() < ${timestampLiteral(time.toTarget(deadline))})::int`;
  try {
    await session.query([check, ...statements, check].join(';\n'));
  } catch (error) {
    if (sqlStateOf(error) !== sqlState.divisionByZero) throw error;
    throw new TargetFailure('deadline-passed', 'the deadline passed at the target, which changed nothing');
  }
}
