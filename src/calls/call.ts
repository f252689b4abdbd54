import type { Actor } from '../grants/delegation.ts';

/** How a call ended. `failed`: the upstream gave no usable response, or broke it off. `grant-ended`, `state-unknown`: the gateway cut it. */
export type CallOutcome = 'completed' | 'failed' | 'disconnected' | 'grant-ended' | 'state-unknown';

/** A call that the gateway is about to forward. */
export interface NewCall {
  id: string;
  requestId: string;
  at: Date;
  grantId: string;
  agentId: string;
  tokenId: string;
  /** The agents that act, the current one first; null if the token was not delegated. */
  actors: Actor | null;
  resourceId: string;
  /** The scope whose route permitted the call. */
  scope: string;
  method: string;
  /** The path below the slug, without the query. */
  path: string;
}

/** What is known when a call has ended. */
export interface CallEnd {
  endedAt: Date;
  outcome: CallOutcome;
  /** Null if the upstream did not respond. */
  upstreamStatus: number | null;
  requestBytes: number;
  /** The SHA-256 digests of what was forwarded; null if there was no body. */
  requestSha256: Buffer | null;
  responseBytes: number;
  responseSha256: Buffer | null;
}

/** A recorded call; the members of `CallEnd` are null until it has ended, and for good if its replica was killed. */
export type Call = NewCall & { [Member in keyof CallEnd]: CallEnd[Member] | null };
