import { toConnectionFailure } from '../connection-failure.ts';
import { TargetFailure, type TargetProblemCode } from '../target-failure.ts';

/** The numbers of errors that this engine handles (MariaDB, Error Codes). */
export const errorNumber = {
  /** ER_CANNOT_USER: among others, the account exists already. */
  cannotUser: 1396,
  /** ER_STATEMENT_TIMEOUT: the statement took longer than max_statement_time. */
  statementTimeout: 1969,
  /** ER_NO_SUCH_THREAD: the connection to end has ended. */
  noSuchThread: 1094,
  /** Signalled by the statement of this engine that makes an account. No error of the server has this number. */
  deadlinePassed: 30_001,
} as const;

/** What errors mean on a connection that has logged in. */
const statementProblems: Readonly<Record<number, TargetProblemCode>> = {
  1044: 'missing-privilege',
  1095: 'missing-privilege',
  1142: 'missing-privilege',
  1143: 'missing-privilege',
  1227: 'missing-privilege',
  1370: 'missing-privilege',
  1410: 'missing-privilege',
  // GRANT of a role without ADMIN OPTION fails like a login without a password.
  1698: 'missing-privilege',
  1205: 'timed-out',
  1969: 'timed-out',
  1053: 'unreachable',
  1317: 'unreachable',
  1927: 'unreachable',
};

/** What errors mean while a connection logs in. */
const loginProblems: Readonly<Record<number, TargetProblemCode>> = {
  1045: 'login-refused',
  1130: 'login-refused',
  1251: 'login-refused',
  1275: 'login-refused',
  1524: 'login-refused',
  1698: 'login-refused',
  1820: 'login-refused',
  1862: 'login-refused',
  /** ER_ACCOUNT_HAS_BEEN_LOCKED */
  4151: 'login-refused',
  1040: 'unreachable',
  1053: 'unreachable',
  1129: 'unreachable',
  1203: 'unreachable',
  1226: 'unreachable',
  1927: 'unreachable',
};

/** What errors of `mysql2` itself mean. */
const clientProblems: Readonly<Record<string, TargetProblemCode>> = {
  HANDSHAKE_NO_SSL_SUPPORT: 'tls-failed',
  HANDSHAKE_SSL_ERROR: 'tls-failed',
  AUTH_SWITCH_PLUGIN_ERROR: 'login-refused',
  MYSQL_CLEAR_PASSWORD_NOT_ENABLED: 'login-refused',
};

interface ServerError extends Error {
  errno: number;
  sqlMessage: string;
}

/** Whether `error` is an answer of the server. */
function isServerError(error: unknown): error is ServerError {
  return error instanceof Error && 'sqlMessage' in error && 'errno' in error;
}

/** Returns the number of an error of the server; undefined for any other error. */
export function numberOf(error: unknown): number | undefined {
  return isServerError(error) ? error.errno : undefined;
}

/** Converts an error of a statement. The result has the message only, because other fields repeat the statement. */
export function toTargetFailure(error: unknown): TargetFailure {
  return convert(error, statementProblems);
}

/** Converts an error of a login. */
export function toLoginFailure(error: unknown): TargetFailure {
  return convert(error, loginProblems);
}

function convert(error: unknown, problems: Readonly<Record<number, TargetProblemCode>>): TargetFailure {
  if (isServerError(error)) {
    return new TargetFailure(problems[error.errno] ?? 'refused', `${error.message} (error ${error.errno})`);
  }
  const failure = toConnectionFailure(error);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const problem = Object.hasOwn(clientProblems, code) ? clientProblems[code] : undefined;
  return problem === undefined ? failure : new TargetFailure(problem, failure.detail);
}
