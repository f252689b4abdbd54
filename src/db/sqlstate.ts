/** The SQLSTATEs that the broker handles (PostgreSQL manual, appendix A). */
export const sqlState = {
  serializationFailure: '40001',
  deadlockDetected: '40P01',
  uniqueViolation: '23505',
  checkViolation: '23514',
  restrictViolation: '23001',
  insufficientPrivilege: '42501',
  lockNotAvailable: '55P03',
  queryCanceled: '57014',
  readOnlyTransaction: '25006',
} as const;

/** Returns the SQLSTATE of an error from PostgreSQL; undefined for any other error. */
export function sqlStateOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  return /^[0-9A-Z]{5}$/.test(error.code) ? error.code : undefined;
}

/** Whether `error` is a unique violation of the constraint or index named `constraint`. */
export function violates(error: unknown, constraint: string): boolean {
  return (
    sqlStateOf(error) === sqlState.uniqueViolation &&
    error instanceof Error &&
    'constraint' in error &&
    error.constraint === constraint
  );
}

/** Node's error codes for a database that cannot be reached. */
const outageCodes: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
const outageClasses: readonly string[] = ['08', '53', '57', '58'];
const outageStates: ReadonlySet<string> = new Set([
  sqlState.lockNotAvailable,
  sqlState.serializationFailure,
  sqlState.deadlockDetected,
  // The broker uses no read-only transactions, so this means that the server is no longer the primary.
  sqlState.readOnlyTransaction,
]);

/**
 * Whether an error is caused by the database, not by the request: the connection was lost, the server is out of
 * resources, shutting down or no longer the primary, or a timeout expired, also while waiting for a lock. The caller
 * may retry later (503).
 */
export function isOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // A fatal error ends the session or prevents it, so it is not caused by the statement.
  if ('severity' in error && (error.severity === 'FATAL' || error.severity === 'PANIC')) return true;
  const state = sqlStateOf(error);
  if (state !== undefined && (outageStates.has(state) || outageClasses.includes(state.slice(0, 2))))
    return true;
  if ('code' in error && typeof error.code === 'string' && outageCodes.has(error.code)) return true;
  // pg throws errors without a code when a connection is lost during a query or the pool's timeout expires.
  return /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/.test(
    error.message,
  );
}
