/** SQLSTATEs that the broker tells apart (PostgreSQL manual, appendix A). */
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

/** The SQLSTATE of an error that PostgreSQL raised, else undefined. */
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

/** Node's and PostgreSQL's ways to say that the database cannot be reached or will not work now. */
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
  // Nothing of ours writes in a read-only transaction: the server was demoted, and another one is the primary.
  sqlState.readOnlyTransaction,
]);

/**
 * Whether the database, and not the request, is the reason: connection lost, out of resources, shutting down,
 * cancelled by a timeout, no longer the primary, or a lock that did not come. The caller may try again later (503).
 */
export function isOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // Whatever the reason, a fatal error ended the session or let none begin: it is not about the statement.
  if ('severity' in error && (error.severity === 'FATAL' || error.severity === 'PANIC')) return true;
  const state = sqlStateOf(error);
  if (state !== undefined && (outageStates.has(state) || outageClasses.includes(state.slice(0, 2))))
    return true;
  if ('code' in error && typeof error.code === 'string' && outageCodes.has(error.code)) return true;
  // pg throws plain errors, without a code, when a connection ends under a query or the pool has none to give.
  return /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/.test(
    error.message,
  );
}
