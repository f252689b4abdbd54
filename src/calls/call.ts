import type { Actor } from '../grants/delegation.ts';

/**
 * How a call ended. `failed`: the gateway could not forward the request, or the upstream gave no usable response or broke
 * it off. `disconnected`: the connection of the agent was closed. `grant-ended`, `state-unknown`: the gateway cut it.
 */
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
  /** The SHA-256 digest of the body that was forwarded; null if the request had none. */
  requestSha256: Buffer | null;
  responseBytes: number;
  /** The SHA-256 digest of the body that was forwarded, which may be empty; null if no response was forwarded. */
  responseSha256: Buffer | null;
}

/** A recorded call. The members of `CallEnd` are null until its end is written, and for good if that is not possible. */
export type Call = NewCall & { [Member in keyof CallEnd]: CallEnd[Member] | null };
