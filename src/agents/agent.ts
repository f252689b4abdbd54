import { endsLater } from '../client-secrets/client-secret.ts';
import { addSeconds } from '../platform/clock.ts';

export type Environment = 'production' | 'staging' | 'development';

/** How an agent authenticates at the token endpoint (`token_endpoint_auth_method`, RFC 7591 section 2). */
export type ClientAuthMethod =
  | 'client_secret_basic'
  | 'client_secret_post'
  | 'private_key_jwt'
  | 'federated_jwt';

export interface Agent {
  /** The id, which is also the `client_id`. */
  id: string;
  name: string;
  /** The id of the person who answers for the agent. */
  owner: string;
  environment: Environment;
  authMethod: ClientAuthMethod;
  /** Whether its client assertions may have the token endpoint as audience, or several audiences, as RFC 7523 section 3 allows. */
  legacyAudience: boolean;
  /** Whether its tokens must be bound to a key of the agent (RFC 9449). */
  requireBoundTokens: boolean;
  /** Whether a token request that no grant covers requests a grant (a grant on demand). */
  grantsOnDemand: boolean;
  /** The labels, without duplicates. */
  labels: string[];
  /** Grants and tokens of an older epoch are inactive permanently. */
  epoch: number;
  /** A number that rises with every change. */
  version: number;
  createdAt: Date;
  createdBy: string;
  updatedAt: Date;
  /** When the agent expires; null if it never expires. */
  expiresAt: Date | null;
  disabledAt: Date | null;
}

export type AgentStatus = 'enabled' | 'disabled' | 'expired';

type AgentLife = Pick<Agent, 'disabledAt' | 'expiresAt'>;

export function agentStatus(agent: AgentLife, now: Date): AgentStatus {
  if (agent.disabledAt !== null) return 'disabled';
  return endsLater(agent.expiresAt, now) ? 'enabled' : 'expired';
}

/** Whether the agent may get and use anything at `now`. */
export function isUsable(agent: AgentLife, now: Date): boolean {
  return agentStatus(agent, now) === 'enabled';
}

/**
 * Whether the new `expiresAt` (undefined if it does not change) gives more time to an agent that has expired. What was
 * issued to the agent before must not become active again, so this change needs a new epoch.
 */
export function comesBack(agent: AgentLife, expiresAt: Date | null | undefined, now: Date): boolean {
  return expiresAt !== undefined && !endsLater(agent.expiresAt, now) && endsLater(expiresAt, now);
}

/** Longer than the lifetime of a broker token and the time in which a request arrives, with room for clocks that differ. */
const controlSeconds = 3600;

/**
 * Returns the time from which owning the agent, or having issued a credential that was still valid, makes a person a
 * controller of what the agent does at `at`. It is an hour before `at`, because a token may outlive the credential that it
 * was obtained with, and a request takes time to arrive.
 */
export function controlSince(at: Date): Date {
  return addSeconds(at, -controlSeconds);
}
