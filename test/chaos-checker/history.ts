/** The kinds of operations. The report counts each, and a run in which one never succeeded proves nothing. */
export const kinds = [
  'request',
  'read',
  'list',
  'approve',
  'deny',
  'cancel',
  'return',
  'revoke-grant',
  'broker-token',
  'mint',
  'mint-pinned',
  'exchange',
  'introspect',
  'revoke-token',
  'replay',
  'issue-secret',
  'withdraw',
  'disable',
  'enable',
  'rotate',
  'compromise',
  'lease',
  'renew-lease',
  'read-lease',
  'revoke-lease',
  'log-in',
] as const;
export type Kind = (typeof kinds)[number];

/**
 * `refused`: a 4xx, or no process was listening; it had no effect. `unknown`: a broken connection, a timeout or a
 * 5xx; it may have happened, or may still happen.
 */
export type Outcome = 'ok' | 'refused' | 'unknown';

/** A grant in a response. Times are in milliseconds since 1970. */
export interface GrantSeen {
  id: string;
  agentId: string;
  /** The grant from which it was delegated. */
  parentId?: string | null;
  status: string;
  /** A text that only one request has, in which it was sent. */
  reason: string;
  scopes: readonly string[];
  requestedScopes: readonly string[];
  durationSeconds: number;
  requestedDurationSeconds: number;
  startsAtMs: number | null;
  expiresAtMs: number | null;
  /** The approvers, with repetitions if a response has them. */
  approvedBy: readonly string[];
}

/** The claims of a token. A broker token has no grant. */
export interface TokenSeen {
  jti: string;
  kid: string;
  agentId: string;
  grantId: string | null;
  scopes: readonly string[];
  expiresAtMs: number;
}

/** A lease in a response. */
export interface LeaseSeen {
  id: string;
  agentId: string;
  /** When the target had taken the access from its account; null if it has not. */
  accessDisabledAtMs: number | null;
}

export interface Asked {
  /** The agent that the operation is about, or that called. */
  agentId?: string | undefined;
  /** The authentication of an agent: the name of its secret or key, or the `jti` of its broker token. */
  by?: { credential: string } | { brokerJti: string } | undefined;
  /**
   * The names of the assertions and proofs in the request, which are valid once. Each includes the name of its agent.
   */
  once?: readonly string[] | undefined;
  /** The secret or key that is withdrawn. It is never used for an agent again. */
  credential?: string | undefined;
  personId?: string | undefined;
  grantId?: string | undefined;
  jti?: string | undefined;
  leaseId?: string | undefined;
  /** The `jti` of the subject token of an exchange. */
  subjectJti?: string | undefined;
  /** A text that only one request for a grant has. It is sent as its reason and as its `Idempotency-Key`. */
  key?: string | undefined;
  scopes?: readonly string[] | undefined;
  durationSeconds?: number | undefined;
}

export interface Answered {
  grants?: readonly GrantSeen[] | undefined;
  token?: TokenSeen | undefined;
  lease?: LeaseSeen | undefined;
  /** The result of an introspection. */
  active?: boolean | undefined;
  /** The keys that were shown as compromised. */
  compromisedKids?: readonly string[] | undefined;
}

/** One request and its result. */
export interface Operation {
  kind: Kind;
  actor: string;
  replica: number;
  /** When the request was sent, in milliseconds of a monotonic clock. */
  begunMs: number;
  /** When the response was received, or the actor gave up. */
  endedMs: number;
  /** The time of the wall clock at the beginning, by which grants and tokens expire. */
  begunAtMs: number;
  outcome: Outcome;
  /** The HTTP status; absent if no response was received. */
  status?: number | undefined;
  code?: string | undefined;
  requestId?: string | undefined;
  asked: Asked;
  answered: Answered;
}

/** The final state: the rows of grants and tokens, and further contents of the database. */
export interface FinalState {
  tokenRows: readonly { jti: string; agentId: string }[];
  tokenEvents: readonly { jti: string; agentId: string }[];
  /** The ids of the requests with an audit event of a change. */
  recordedRequests: ReadonlySet<string>;
  grantRows: readonly { id: string; agentId: string; reason: string }[];
  compromisedKids: ReadonlySet<string>;
  /** Whether each issued token verifies with the published keys. */
  signatures: readonly { jti: string; agentId: string; kid: string; signature: 'good' | 'bad' | 'no-key' }[];
  /** The leases, with the time at which each expired or began to be revoked, whichever came first. */
  leaseRows: readonly (LeaseSeen & { accountName: string; endsAtMs: number })[];
  /** The accounts of leases that exist in the target after the final sweep, with the time at which they were read. */
  accounts: readonly { name: string; atMs: number }[];
  /** The state of each token on every replica, after all operations had ended. */
  opinions: readonly { jti: string; agentId: string; active: readonly boolean[] }[];
}

export interface History {
  operations: readonly Operation[];
  /** The final state; absent in a history that has only operations. */
  finalState?: FinalState | undefined;
}

export interface Violation {
  /** The name of the check that found it. */
  check: string;
  agentId: string | undefined;
  what: string;
  operations: readonly Operation[];
}

/**
 * How long a request may continue after its actor gave up: no replica is paused for longer than 20 s, and its
 * statement ends within the broker's timeouts. The rest is for a machine that is busy with other work.
 */
const lingerMs = 120_000;

/** Returns the latest time at which the operation happened, if it did. */
export const latestMs = ({ outcome, endedMs }: Operation): number =>
  outcome === 'unknown' ? endedMs + lingerMs : endedMs;

/** Whether `first` had certainly happened before `second` began. */
export const precedes = (first: Operation, second: Operation): boolean => latestMs(first) < second.begunMs;

export const isOk = ({ outcome }: Operation): boolean => outcome === 'ok';

/** Whether the operation may have had an effect. */
export const isPossible = ({ outcome }: Operation): boolean => outcome !== 'refused';
