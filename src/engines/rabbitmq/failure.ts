import { errors } from 'undici';
import { toConnectionFailure } from '../connection-failure.ts';
import { TargetFailure, type TargetProblemCode } from '../target-failure.ts';

/** An answer of the HTTP API. */
export interface Answer {
  status: number;
  /** The JSON value in the body; undefined if there is none. */
  body: unknown;
}

const longestReason = 300;
/** The reasons of status 401 for a password that is not accepted. The others say what the user may not do. */
const loginReasons = /login failed|localhost|basic auth|^$/i;
/** What a proxy answers while it does not reach the server. */
const outages: readonly number[] = [502, 503, 504];

/** Quotes an argument of a command for a POSIX shell. */
export const quoteArgument = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** Returns the command that permits an account to administer users. */
export const grantAdministrator = (username: string): string =>
  `rabbitmqctl set_user_tags ${quoteArgument(username)} administrator`;

interface Admin {
  username: string;
  /** What must not be in an error, because a proxy may repeat what it got. */
  secrets: readonly string[];
}

/** Converts an answer that is not a success. */
export function answerFailure({ status, body }: Answer, { username, secrets }: Admin): TargetFailure {
  const reason = secrets.reduce((text, secret) => text.replaceAll(secret, '***'), reasonOf(body));
  const problem = problemOf(status, reason);
  const detail = reason === '' ? `the HTTP API answered ${status}` : `${reason} (status ${status})`;
  const statement = problem === 'missing-privilege' ? grantAdministrator(username) : undefined;
  return new TargetFailure(problem, detail.slice(0, longestReason), { statement });
}

function problemOf(status: number, reason: string): TargetProblemCode {
  if (status === 401) return loginReasons.test(reason) ? 'login-refused' : 'missing-privilege';
  if (status === 403) return 'missing-privilege';
  return outages.includes(status) ? 'unreachable' : 'refused';
}

function reasonOf(body: unknown): string {
  const reason = typeof body === 'object' && body !== null && 'reason' in body ? body.reason : '';
  return typeof reason === 'string' ? reason : JSON.stringify(reason);
}

/** The errors of `undici` for an answer that is not HTTP, or larger than any of RabbitMQ. */
const strangeAnswers = [
  errors.HTTPParserError,
  errors.HeadersOverflowError,
  errors.ResponseExceededMaxSizeError,
];

/** Returns the failure for an answer that RabbitMQ would not give. */
export function notRabbitmq(): TargetFailure {
  return new TargetFailure('refused', 'the server does not answer like the HTTP API of RabbitMQ');
}

/** Converts an error of `undici` or of a socket. */
export function toTargetFailure(error: unknown): TargetFailure {
  // Node tries all addresses of a name. The first error says as much as all.
  const cause = error instanceof AggregateError ? (error.errors[0] as unknown) : error;
  return strangeAnswers.some((strange) => cause instanceof strange)
    ? notRabbitmq()
    : toConnectionFailure(cause);
}
