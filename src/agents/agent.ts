import { endsLater } from '../client-secrets/client-secret.ts';
import { addSeconds } from '../platform/clock.ts';

export type Environment = 'production' | 'staging' | 'development';

/** How it proves itself at the token endpoint (RFC 7591 section 2). */
export type ClientAuthMethod =
  | 'client_secret_basic'
  | 'client_secret_post'
  | 'private_key_jwt'
  | 'federated_jwt';

export interface Agent {
  /** Also its `client_id`. */
  id: string;
  name: string;
  /** The person who answers for it. */
  owner: string;
  environment: Environment;
  authMethod: ClientAuthMethod;
  /** Whether its assertions may name the token endpoint as audience, or several (RFC 7523 as it was first read). */
  legacyAudience: boolean;
  /** Whether its tokens are bound to a key of its own (RFC 9449). */
  requireBoundTokens: boolean;
  /** Whether a token request that no grant covers asks for one. */
  grantsOnDemand: boolean;
  /** A set. */
  labels: string[];
  /** What was issued under an older one is dead for ever. */
  epoch: number;
  /** Rises with every change. */
  version: number;
  createdAt: Date;
  createdBy: string;
  updatedAt: Date;
  /** Null: never. */
  expiresAt: Date | null;
  disabledAt: Date | null;
}

export type AgentStatus = 'enabled' | 'disabled' | 'expired';

type AgentLife = Pick<Agent, 'disabledAt' | 'expiresAt'>;

export function agentStatus(agent: AgentLife, now: Date): AgentStatus {
  if (agent.disabledAt !== null) return 'disabled';
  return endsLater(agent.expiresAt, now) ? 'enabled' : 'expired';
}

/** Whether it may get and use anything at `now`. */
export function isUsable(agent: AgentLife, now: Date): boolean {
  return agentStatus(agent, now) === 'enabled';
}

/**
 * Whether giving the agent another `expiresAt` (undefined: as it is) would bring it back after it expired. What ended
 * with it must stay ended, so that takes a new epoch.
 */
export function comesBack(agent: AgentLife, expiresAt: Date | null | undefined, now: Date): boolean {
  return expiresAt !== undefined && !endsLater(agent.expiresAt, now) && endsLater(expiresAt, now);
}

/** Longer than a broker token lives and a request may take to arrive, with room for clocks that differ. */
const controlSeconds = 3600;

/**
 * Whose secrets make them controllers of what the agent does at `at`: of those alive then, and of those that ended a
 * while before, because a token outlives the secret it was got with, and a request its first byte.
 */
export function controlSince(at: Date): Date {
  return addSeconds(at, -controlSeconds);
}
