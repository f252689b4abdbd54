/** What actors do. A closed set: the report counts each, and a run in which one never succeeded proves nothing. */
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
] as const;
export type Kind = (typeof kinds)[number];

/**
 * `refused`: a 4xx, or nobody listened; it had no effect. `unknown`: a broken connection, no answer in time, or a 5xx; it
 * may have happened, or may happen yet.
 */
export type Outcome = 'ok' | 'refused' | 'unknown';

/** A grant as an answer showed it. Times in milliseconds since 1970. */
export interface GrantSeen {
  id: string;
  agentId: string;
  /** The grant that it was handed down from. */
  parentId?: string | null;
  status: string;
  /** Unique to one request: what it was asked with. */
  reason: string;
  scopes: readonly string[];
  requestedScopes: readonly string[];
  durationSeconds: number;
  requestedDurationSeconds: number;
  startsAtMs: number | null;
  expiresAtMs: number | null;
  /** Who approved, as often as it is shown. */
  approvedBy: readonly string[];
}

/** What a token says of itself. A broker token has no grant. */
export interface TokenSeen {
  jti: string;
  kid: string;
  agentId: string;
  grantId: string | null;
  scopes: readonly string[];
  expiresAtMs: number;
}

export interface Asked {
  /** The agent that it is about, or that asks. */
  agentId?: string | undefined;
  /** What a caller proved itself with, if it was an agent: the secret or key of this name, or the broker token of this `jti`. */
  by?: { credential: string } | { brokerJti: string } | undefined;
  /** The names of what was sent along that may be used once: assertions and proofs, each with whose it is. */
  once?: readonly string[] | undefined;
  /** The secret or key that is withdrawn. None ever comes back. */
  credential?: string | undefined;
  personId?: string | undefined;
  grantId?: string | undefined;
  jti?: string | undefined;
  /** Of the token that is exchanged. */
  subjectJti?: string | undefined;
  /** Unique to one request for a grant; sent as its reason and as its `Idempotency-Key`. */
  key?: string | undefined;
  scopes?: readonly string[] | undefined;
  durationSeconds?: number | undefined;
}

export interface Answered {
  grants?: readonly GrantSeen[] | undefined;
  token?: TokenSeen | undefined;
  /** Of an introspection. */
  active?: boolean | undefined;
  /** The keys that were shown as compromised. */
  compromisedKids?: readonly string[] | undefined;
}

/** One request and what became of it. */
export interface Operation {
  kind: Kind;
  actor: string;
  replica: number;
  /** On a clock that never goes back, in milliseconds. */
  begunMs: number;
  /** When the answer was there, or the actor gave up. */
  endedMs: number;
  /** The wall clock at the beginning: grants and tokens end by it. */
  begunAtMs: number;
  outcome: Outcome;
  /** Absent: no answer came. */
  status?: number | undefined;
  code?: string | undefined;
  requestId?: string | undefined;
  asked: Asked;
  answered: Answered;
}

/** A grant's row, a token's row and what else the database held when all was quiet. */
export interface Ending {
  tokenRows: readonly { jti: string; agentId: string }[];
  tokenEvents: readonly { jti: string; agentId: string }[];
  /** The requests that left an event of a change. */
  recordedRequests: ReadonlySet<string>;
  grantRows: readonly { id: string; agentId: string; reason: string }[];
  compromisedKids: ReadonlySet<string>;
  /** What the published keys said of each token that was answered. */
  signatures: readonly { jti: string; agentId: string; kid: string; signature: 'good' | 'bad' | 'no-key' }[];
  /** What each replica said of one token, in turn, when nothing happened any more. */
  opinions: readonly { jti: string; agentId: string; active: readonly boolean[] }[];
}

export interface History {
  operations: readonly Operation[];
  /** Absent in a history of operations alone. */
  ending?: Ending | undefined;
}

export interface Violation {
  /** The name of the check that found it. */
  check: string;
  agentId: string | undefined;
  what: string;
  operations: readonly Operation[];
}

/**
 * How long a request may go on after its actor gave it up: no replica is stopped for longer than 20 s, and then its
 * statement ends within the broker's own timeouts.
 */
const lingerMs = 40_000;

/** When it had happened at the latest, if it did. */
export const latestMs = ({ outcome, endedMs }: Operation): number =>
  outcome === 'unknown' ? endedMs + lingerMs : endedMs;

/** Whether `first` had certainly happened before `second` was invoked. */
export const precedes = (first: Operation, second: Operation): boolean => latestMs(first) < second.begunMs;

export const isOk = ({ outcome }: Operation): boolean => outcome === 'ok';

/** Whether it may have had an effect. */
export const isPossible = ({ outcome }: Operation): boolean => outcome !== 'refused';
