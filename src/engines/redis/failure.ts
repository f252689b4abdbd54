import { ReplyError } from 'ioredis';
import { toConnectionFailure } from '../connection-failure.ts';
import { TargetFailure, type TargetProblemCode } from '../target-failure.ts';

/** What the first word of an error means (the error prefixes of the Redis protocol). */
const problems: Readonly<Record<string, TargetProblemCode>> = {
  WRONGPASS: 'login-refused',
  NOAUTH: 'login-refused',
  NOPERM: 'missing-privilege',
  LOADING: 'unreachable',
  BUSY: 'unreachable',
  MASTERDOWN: 'unreachable',
};
const tooManyClients = /max number of clients/;
const deniedCommand = /permissions to run the '([^']+)' command/;
/** Unknown commands are repeated with their arguments. */
const repeatedArguments = /,? with args beginning with:.*$/s;
const longestMessage = 300;

export interface FailureContext {
  /** The user who ran the command. */
  username: string;
  /** What must never be in the text, also if the server repeats it. */
  secret: string;
}

/** Whether the server answered a command with an error. */
export const isReplyError = (error: unknown): error is Error => error instanceof ReplyError;

/** Converts an error of `ioredis`. The result has the message only, because other fields repeat the command. */
export function toTargetFailure(error: unknown, { username, secret }: FailureContext): TargetFailure {
  if (error instanceof TargetFailure) return error;
  if (!isReplyError(error)) return toConnectionFailure(error);
  const message = error.message
    .replace(repeatedArguments, '')
    .replaceAll(secret, '***')
    .slice(0, longestMessage);
  const [prefix = ''] = message.split(' ', 1);
  const problem = problems[prefix] ?? (tooManyClients.test(message) ? 'unreachable' : 'refused');
  const [, command] = deniedCommand.exec(message) ?? [];
  const statement = command === undefined ? undefined : grantStatement(username, command);
  return new TargetFailure(problem, message, { statement });
}

/** Returns the statement that permits a command to a user. */
export const grantStatement = (username: string, command: string): string =>
  `ACL SETUSER ${username} +${command}`;
