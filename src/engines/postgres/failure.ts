import pg from 'pg';
import { fromConnection } from '../connection-failure.ts';
import { TargetFailure, type TargetProblemCode } from '../target-failure.ts';

/** The SQLSTATEs that this engine handles (PostgreSQL manual, appendix A). */
export const sqlState = {
  divisionByZero: '22012',
  uniqueViolation: '23505',
  serializationFailure: '40001',
  deadlockDetected: '40P01',
  dependentObjectsStillExist: '2BP01',
  insufficientPrivilege: '42501',
  lockNotAvailable: '55P03',
  /** Among others for "tuple concurrently updated", when two sessions change the same role. */
  internalError: 'XX000',
} as const;

const problems: Readonly<Record<string, TargetProblemCode>> = {
  '42501': 'missing-privilege',
  // "no possible grantors": the admin account has no role with ADMIN OPTION of which it inherits.
  '0LP01': 'missing-privilege',
  '28000': 'login-refused',
  '28P01': 'login-refused',
  '42710': 'account-exists',
  '57014': 'timed-out',
  '55P03': 'timed-out',
};
/** The classes for a lost connection, a server without resources or shutting down, and failed input and output. */
const outages: readonly string[] = ['08', '53', '57', '58'];

/** The messages of `pg` for a server without TLS, which have no code. */
const tlsMessages = /^(The server does not support SSL connections|There was an error establishing an SSL)/;

/** Returns the SQLSTATE of an error of the server; undefined for any other error. */
export function sqlStateOf(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

/** Converts an error of `pg`. The result has the message only, because other fields may repeat a statement. */
export function toTargetFailure(error: unknown): TargetFailure {
  if (error instanceof TargetFailure) return error;
  if (error instanceof pg.DatabaseError) return fromServer(error);
  const failure = fromConnection(error);
  return tlsMessages.test(failure.detail) ? new TargetFailure('tls-failed', failure.detail) : failure;
}

function fromServer({ code = '', message, detail }: pg.DatabaseError): TargetFailure {
  const isOutage = outages.includes(code.slice(0, 2));
  const problem = problems[code] ?? (isOutage ? 'unreachable' : 'refused');
  // Only this detail is a list of objects. Others may repeat values.
  const list = code === sqlState.dependentObjectsStillExist && detail !== undefined ? `: ${detail}` : '';
  return new TargetFailure(problem, `${message}${list} (SQLSTATE ${code})`);
}
