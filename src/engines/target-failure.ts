/** Why a call to a target failed. */
export type TargetProblemCode =
  /** The rules for targets do not allow the address. */
  | 'address-not-allowed'
  | 'name-not-found'
  /** No connection, or it was lost. Whether the call had an effect is unknown. */
  | 'unreachable'
  /** No answer in time. Whether the call had an effect is unknown. */
  | 'timed-out'
  | 'tls-failed'
  /** The target does not accept the user name and the password. */
  | 'login-refused'
  /** The admin account may not do this. */
  | 'missing-privilege'
  /** The deadline of the call has passed; the target was not changed any more. */
  | 'deadline-passed'
  /** An account of this name exists. */
  | 'account-exists'
  /** Anything else that the target refused. */
  | 'refused';

/**
 * Error thrown when a call to a target fails. It never contains a password. It is not a BrokerError: the caller decides
 * what the failure means for the request that it serves.
 */
export class TargetFailure extends Error {
  readonly problem: TargetProblemCode;
  /** The target's own message, without secrets. */
  readonly detail: string;
  /** The statement that an admin of the target runs to fix it, if a single statement does. */
  readonly statement: string | undefined;

  constructor(
    problem: TargetProblemCode,
    detail: string,
    options: { statement?: string | undefined; cause?: unknown } = {},
  ) {
    super(`${problem}: ${detail}`, { cause: options.cause });
    this.name = 'TargetFailure';
    this.problem = problem;
    this.detail = detail;
    this.statement = options.statement;
  }

  /** Whether the target may be well and the next attempt succeed only when it can be reached again. */
  get isUnreachable(): boolean {
    return ['unreachable', 'timed-out', 'name-not-found', 'tls-failed', 'login-refused'].includes(
      this.problem,
    );
  }
}
