interface ErrorEntry {
  status: number;
  title: string;
  /** The `error` value on /oauth2 (RFC 6749 section 5.2, RFC 8707 section 2). */
  oauth?: string;
  /** Whether the error is an intended refusal. It has a 5xx status but is not a fault of the server. */
  isRefusal?: true;
}

/** The error codes. Invariant: codes are stable, because clients branch on them. */
export const errorTable = {
  // 400
  'invalid-request': { status: 400, title: 'The request is not valid', oauth: 'invalid_request' },
  'invalid-cursor': { status: 400, title: 'The cursor is not valid for this list' },
  'invalid-policy': { status: 400, title: 'The policy does not pass strict validation' },
  'invalid-scope': {
    status: 400,
    title: 'The scope is not in the catalogue or not granted',
    oauth: 'invalid_scope',
  },
  'invalid-authorization-details': {
    status: 400,
    title: 'The authorization details are not valid or not granted',
    oauth: 'invalid_authorization_details',
  },
  'invalid-target': {
    status: 400,
    title: 'The client cannot get a token for this resource',
    oauth: 'invalid_target',
  },
  'invalid-subject-token': {
    status: 400,
    title: 'The subject token cannot be exchanged',
    oauth: 'invalid_request',
  },
  'delegation-denied': {
    status: 400,
    title: 'Policy does not permit this delegation',
    oauth: 'invalid_request',
  },
  'invalid-grant': { status: 400, title: 'The grant is not usable', oauth: 'invalid_grant' },
  'not-supported': {
    status: 400,
    title: 'This restriction is not supported yet',
    oauth: 'invalid_request',
  },
  'invalid-dpop-proof': {
    status: 400,
    title: 'The DPoP proof is missing or not valid',
    oauth: 'invalid_dpop_proof',
  },
  'use-dpop-nonce': {
    status: 400,
    title: 'The DPoP proof needs a nonce from this server',
    oauth: 'use_dpop_nonce',
  },
  // RFC 8628 section 3.5: a person has not decided yet, or has denied.
  'authorization-pending': {
    status: 400,
    title: 'The grant waits for approval',
    oauth: 'authorization_pending',
  },
  'access-denied': {
    status: 400,
    title: 'The grant was denied a short while ago',
    oauth: 'access_denied',
  },
  'unsupported-response-type': {
    status: 400,
    title: 'Authorization requests are not supported',
    oauth: 'unsupported_response_type',
  },
  'unsupported-grant-type': {
    status: 400,
    title: 'The grant type is not supported',
    oauth: 'unsupported_grant_type',
  },
  'unauthorized-client': {
    status: 400,
    title: 'This client may not use this grant type',
    oauth: 'unauthorized_client',
  },
  // 401
  unauthenticated: { status: 401, title: 'Authentication is required', oauth: 'invalid_token' },
  'invalid-client': { status: 401, title: 'Client authentication failed', oauth: 'invalid_client' },
  // 403
  forbidden: { status: 403, title: 'Your role does not allow this' },
  'route-not-allowed': { status: 403, title: 'No scope of the token permits this method and path' },
  'policy-denied': { status: 403, title: 'Policy does not permit this request' },
  'policy-error': { status: 403, title: 'Policy could not be evaluated, so the request is denied' },
  'no-eligible-approver': { status: 403, title: 'Policy requires an approval that no person may give' },
  'self-approval': { status: 403, title: 'Approvers may not decide for agents that they control' },
  // 404, 405, 406
  'not-found': {
    status: 404,
    title: 'Not found, or not yours',
    oauth: 'invalid_request',
  },
  'method-not-allowed': {
    status: 405,
    title: 'The method is not allowed for this path',
    oauth: 'invalid_request',
  },
  // 409
  conflict: { status: 409, title: 'The change conflicts with the current state' },
  'email-taken': { status: 409, title: 'A person with this e-mail address exists' },
  'identifier-taken': { status: 409, title: 'A resource with this identifier exists or existed' },
  'slug-taken': { status: 409, title: 'A resource with this slug exists or existed' },
  'name-taken': { status: 409, title: 'This name is in use' },
  'last-admin': { status: 409, title: 'The last usable admin cannot be removed' },
  'too-many-secrets': { status: 409, title: 'The client already has two valid secrets' },
  'too-many-grants': {
    status: 409,
    title: 'The agent has too many open grants',
    oauth: 'invalid_request',
  },
  'agent-not-usable': { status: 409, title: 'The agent is disabled, expired or deleted' },
  'grant-not-pending': { status: 409, title: 'The grant is no longer waiting for a decision' },
  'grant-not-active': { status: 409, title: 'The grant is not active' },
  'already-approved': { status: 409, title: 'You have approved this grant already' },
  'idempotency-key-reused': { status: 409, title: 'The idempotency key was used with another request' },
  'key-not-rotatable': { status: 409, title: 'The key is not in a state that allows this' },
  'lease-not-active': { status: 409, title: 'The lease is not active' },
  'too-many-leases': { status: 409, title: 'There are too many leases' },
  // 412, 413, 415, 421, 422, 428, 429
  'stale-digest': { status: 412, title: 'The terms changed since you saw them' },
  'content-too-large': { status: 413, title: 'The body is too large', oauth: 'invalid_request' },
  'unsupported-media-type': {
    status: 415,
    title: 'The content type is not supported',
    oauth: 'invalid_request',
  },
  'misdirected-request': { status: 421, title: 'The request is for another host' },
  'target-not-usable': { status: 422, title: 'Leases would not work in this target' },
  'digest-required': { status: 428, title: 'An approval must name the request_digest it approves' },
  // RFC 6749 has no error for this. Other authorization servers send this one with a 429.
  'rate-limited': { status: 429, title: 'Too many requests', oauth: 'temporarily_unavailable' },
  // 5xx
  internal: { status: 500, title: 'Something went wrong on our side', oauth: 'server_error' },
  unavailable: { status: 503, title: 'Temporarily unavailable', oauth: 'temporarily_unavailable' },
  overloaded: {
    status: 503,
    title: 'The server is overloaded',
    oauth: 'temporarily_unavailable',
    isRefusal: true,
  },
  'target-not-ready': {
    status: 503,
    title: 'The target is not ready for leases',
    isRefusal: true,
  },
  'target-unavailable': {
    status: 503,
    title: 'The target made no account',
    isRefusal: true,
  },
  'upstream-failed': {
    status: 502,
    title: 'The upstream gave no usable response',
    isRefusal: true,
  },
  'upstream-timeout': {
    status: 504,
    title: 'The upstream did not respond in time',
    isRefusal: true,
  },
  'no-published-key': {
    status: 503,
    title: 'No signing key has been published long enough',
    oauth: 'temporarily_unavailable',
    isRefusal: true,
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorOptions {
  /** Text for the caller. It must never contain a secret or another party's data. */
  detail?: string;
  /** Text for the log only. */
  internal?: string;
  cause?: unknown;
  /** Further members of the problem document (RFC 9457 section 3.2). */
  extensions?: Record<string, unknown>;
  retryAfterSeconds?: number;
  /** Whether an audit event of the refusal was already written. */
  recorded?: boolean;
  /** For `unauthenticated`: the error in the challenge (RFC 9449 section 7.1). */
  challenge?: 'invalid_dpop_proof' | 'use_dpop_nonce';
  /** With a challenge: the agent whose bound token was sent without proof of possession of its key. */
  holder?: string;
  /** The token of a trusted issuer that was refused, for the audit log. */
  refusedToken?: RefusedWorkloadToken;
}

/** A token of a workload that did not authenticate an agent. Anyone may have written its members. */
export interface RefusedWorkloadToken {
  issuer: string;
  subject: string;
  reason: string;
  /** What differs from what is registered. */
  detail?: string;
}

/** The only error class. The caller sees `code`, `detail` and `extensions`; all else is for the log. */
export class BrokerError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly internal: string | undefined;
  readonly extensions: Record<string, unknown>;
  readonly retryAfterSeconds: number | undefined;
  readonly recorded: boolean;
  readonly challenge: ErrorOptions['challenge'];
  readonly holder: string | undefined;
  readonly refusedToken: RefusedWorkloadToken | undefined;

  constructor(code: ErrorCode, options: ErrorOptions = {}) {
    super(`${code}${options.detail === undefined ? '' : `: ${options.detail}`}`, { cause: options.cause });
    this.name = 'BrokerError';
    this.code = code;
    this.detail = options.detail;
    this.internal = options.internal;
    this.extensions = options.extensions ?? {};
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.recorded = options.recorded ?? false;
    this.challenge = options.challenge;
    this.holder = options.holder;
    this.refusedToken = options.refusedToken;
  }

  get entry(): ErrorEntry {
    return errorTable[this.code];
  }
}

/** Whether the error is a fault of the server, which belongs in the log as an error. */
export function isFault({ entry }: BrokerError): boolean {
  return entry.status >= 500 && entry.isRefusal !== true;
}

/** A refusal as a return value: `withTransaction` commits, and then throws its error. */
export class Refusal {
  readonly error: BrokerError;

  constructor(error: BrokerError) {
    this.error = error;
  }
}

export function refuse(code: ErrorCode, options: ErrorOptions = {}): Refusal {
  return new Refusal(new BrokerError(code, options));
}
