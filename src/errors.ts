interface ErrorEntry {
  status: number;
  title: string;
  /** The `error` value on /oauth2 (RFC 6749 section 5.2, RFC 8707 section 2). */
  oauth?: string;
}

/** The codes we know ourselves by. Stable: clients branch on them. */
export const errorTable = {
  // 400
  'invalid-request': { status: 400, title: 'The request is not valid', oauth: 'invalid_request' },
  'invalid-cursor': { status: 400, title: 'The cursor is not one of ours for this list' },
  'invalid-policy': { status: 400, title: 'The policy does not pass strict validation' },
  'invalid-scope': {
    status: 400,
    title: 'The scope is not in the catalogue or not granted',
    oauth: 'invalid_scope',
  },
  'invalid-authorization-details': {
    status: 400,
    title: 'The authorization details are not such, or not granted',
    oauth: 'invalid_authorization_details',
  },
  'invalid-target': {
    status: 400,
    title: 'The resource is not one this client can get a token for',
    oauth: 'invalid_target',
  },
  'invalid-subject-token': {
    status: 400,
    title: 'The token to be exchanged is not good for this',
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
    title: 'This restriction cannot be honoured yet',
    oauth: 'invalid_request',
  },
  'invalid-dpop-proof': {
    status: 400,
    title: 'The DPoP proof is missing or not good',
    oauth: 'invalid_dpop_proof',
  },
  'use-dpop-nonce': {
    status: 400,
    title: 'The DPoP proof needs a nonce of this server',
    oauth: 'use_dpop_nonce',
  },
  // RFC 8628 section 3.5 has the words: somebody else has to decide, or has.
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
    title: 'There is no grant type with an authorization request here',
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
  'policy-denied': { status: 403, title: 'Policy does not permit this request' },
  'policy-error': { status: 403, title: 'Policy could not be evaluated, so it denies' },
  'no-eligible-approver': { status: 403, title: 'Policy asks for an approval that nobody may give' },
  'self-approval': { status: 403, title: 'Nobody decides for an agent they control' },
  // 404, 405, 406
  'not-found': {
    status: 404,
    title: 'There is no such thing, or it is not yours',
    oauth: 'invalid_request',
  },
  'method-not-allowed': {
    status: 405,
    title: 'This path does not have this method',
    oauth: 'invalid_request',
  },
  // 409
  conflict: { status: 409, title: 'The change conflicts with what is there' },
  'email-taken': { status: 409, title: 'A person with this e-mail address exists' },
  'identifier-taken': { status: 409, title: 'A resource with this identifier exists or existed' },
  'name-taken': { status: 409, title: 'This name is in use' },
  'last-admin': { status: 409, title: 'The last usable admin cannot be removed' },
  'too-many-secrets': { status: 409, title: 'Two secrets are alive already' },
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
  // 412, 413, 415, 428, 429
  'stale-digest': { status: 412, title: 'The terms changed since you saw them' },
  'content-too-large': { status: 413, title: 'The body is too large', oauth: 'invalid_request' },
  'unsupported-media-type': {
    status: 415,
    title: 'The content type is not supported',
    oauth: 'invalid_request',
  },
  'digest-required': { status: 428, title: 'An approval must name the request_digest it approves' },
  // RFC 6749 has no word for it; authorization servers that others run answer 429 with this one.
  'rate-limited': { status: 429, title: 'Too many requests', oauth: 'temporarily_unavailable' },
  // 5xx
  internal: { status: 500, title: 'Something went wrong on our side', oauth: 'server_error' },
  unavailable: { status: 503, title: 'Temporarily unavailable', oauth: 'temporarily_unavailable' },
  overloaded: { status: 503, title: 'Too much is waiting already', oauth: 'temporarily_unavailable' },
  'no-published-key': {
    status: 503,
    title: 'No signing key has been published long enough',
    oauth: 'temporarily_unavailable',
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorOptions {
  /** Told to the caller. Never holds a secret or another party's data. */
  detail?: string;
  /** Told to the log only. */
  internal?: string;
  cause?: unknown;
  /** Further members of the problem document (RFC 9457 section 3.2). */
  extensions?: Record<string, unknown>;
  retryAfterSeconds?: number;
  /** Whether the refusal is on the record already, by an event of its own. */
  recorded?: boolean;
  /** Of `unauthenticated`: the error that its challenge names (RFC 9449 section 7.1). */
  challenge?: 'invalid_dpop_proof' | 'use_dpop_nonce';
  /** Beside a challenge: the agent whose token was shown without proof that its key is held. */
  holder?: string;
}

/** The one error class. What a caller may know is in `code`, `detail` and `extensions`; the rest is for the log. */
export class BrokerError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly internal: string | undefined;
  readonly extensions: Record<string, unknown>;
  readonly retryAfterSeconds: number | undefined;
  readonly recorded: boolean;
  readonly challenge: ErrorOptions['challenge'];
  readonly holder: string | undefined;

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
  }

  get entry(): ErrorEntry {
    return errorTable[this.code];
  }
}

/** A refusal as a value: `withTransaction` commits what came before it, then throws its error. */
export class Refusal {
  readonly error: BrokerError;

  constructor(error: BrokerError) {
    this.error = error;
  }
}

export function refuse(code: ErrorCode, options: ErrorOptions = {}): Refusal {
  return new Refusal(new BrokerError(code, options));
}
