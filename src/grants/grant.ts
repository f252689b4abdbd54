import type { Detail } from '../authorization-details/details-type.ts';
import type { Mapping } from '../engines/mapping.ts';
import { addSeconds } from '../platform/clock.ts';
import type { Delegation } from './delegation.ts';
import type { PolicyRef, Risk } from './facts.ts';
import { effectiveStatus, type GrantLife } from './liveness.ts';

/** How long a request may wait for a decision before it lapses. */
const lapseSeconds = 24 * 60 * 60;

export function lapseTime(requestedAt: Date): Date {
  return addSeconds(requestedAt, lapseSeconds);
}

/** The most open grants of an agent for one resource and in total, so that few grants are read for each token. */
export const maxOpenGrants = { forResource: 100, total: 1000 };

/** The most open delegated grants of an agent. There may be more: they are short-lived and read one at a time. */
export const maxDelegatedGrants = { forResource: 1000, total: 1000 };

/** The number of approvals and the groups of the approvers, fixed when the grant became active. */
export interface ApprovalFacts {
  approvals: number;
  approver_groups: string[];
}

export interface Approval {
  by: string;
  keyId: string;
  keyIssuedBy: string | null;
  requestDigest: string;
  note: string | null;
  at: Date;
}

export interface ScopeText {
  name: string;
  description: string;
  risk: Risk;
  /** What it means in the target; only of the scopes of an engine's resource. */
  mapping?: Mapping;
}

export interface Grant extends GrantLife {
  id: string;
  version: number;
  agentId: string;
  /** The id of the current owner of the agent. */
  ownerId: string;
  agentVersion: number;
  resourceId: string;
  resource: string;
  resourceVersion: number;
  /** A number that rises with every change of its ancestors and their agents; 0 if it has no ancestors. */
  ancestorsVersion: number;
  /** The current catalogue of the resource. */
  catalogue: ScopeText[];
  requestedScopes: string[];
  requestedDurationSeconds: number;
  scopes: string[];
  durationSeconds: number;
  reason: string;
  ticket: string | null;
  /** The authorization details that narrow its scopes (RFC 9396); null if it has none. */
  authorizationDetails: Detail[] | null;
  requestDigest: string;
  approvalsRequired: number;
  policies: PolicyRef[];
  /** The epochs of agent and resource under which it was made. */
  agentEpoch: number;
  resourceEpoch: number;
  /** The grants from which it was delegated, the oldest first; empty if it is the agent's own grant. */
  ancestors: string[];
  /** The subject and the actors of its tokens; null if it was not delegated. */
  delegation: Delegation | null;
  ownerAtRequest: string;
  requestedAt: Date;
  decidedAt: Date | null;
  endedAt: Date | null;
  endedBy: string | null;
  endReason: string | null;
  /** Whether a person ended the grant by a decision about it. */
  endedByPerson: boolean;
}

/** Returns the period of a grant decided at `decidedAt`. It never ends after the agent's expiry. */
export function grantPeriod(options: {
  decidedAt: Date;
  durationSeconds: number;
  agentExpiresAt: Date | null;
}): { startsAt: Date; expiresAt: Date } {
  const { decidedAt, durationSeconds, agentExpiresAt } = options;
  const end = addSeconds(decidedAt, durationSeconds);
  const expiresAt = agentExpiresAt !== null && agentExpiresAt < end ? agentExpiresAt : end;
  return { startsAt: decidedAt, expiresAt };
}

/** The terms to which an approver narrows a grant; an undefined member stays as it is. */
export interface Narrowing {
  scopes?: string[] | undefined;
  durationSeconds?: number | undefined;
}

/** Returns the narrowed terms, scopes in their given order; undefined if they are empty or wider than `terms`. */
export function narrow(
  terms: { scopes: string[]; durationSeconds: number },
  { scopes = terms.scopes, durationSeconds = terms.durationSeconds }: Narrowing,
): { scopes: string[]; durationSeconds: number } | undefined {
  const within = scopes.length > 0 && scopes.every((scope) => terms.scopes.includes(scope));
  if (!within || durationSeconds < 1 || durationSeconds > terms.durationSeconds) return undefined;
  return { scopes: terms.scopes.filter((scope) => scopes.includes(scope)), durationSeconds };
}

/**
 * Returns the entity tag of a grant (RFC 9110 section 8.8.3). It changes whenever the API would show the grant
 * differently.
 */
export function entityTag(grant: Grant, now: Date): string {
  return `"${changeStamp(grant)}-${effectiveStatus(grant, now)}"`;
}

/**
 * Whether the list in an `If-None-Match` field contains `tag`. The comparison is weak (RFC
 * 9110 section 13.1.2), because a compressing proxy makes tags weak; `*` matches every tag.
 */
export function matchesTag(field: string, tag: string): boolean {
  const tags = field.split(',').map((one) => one.trim().replace(/^W\//, ''));
  return tags.includes(tag) || tags.includes('*');
}

/** Returns the joined versions of the rows from which a grant is read. */
export function changeStamp(
  grant: Pick<Grant, 'version' | 'agentVersion' | 'resourceVersion' | 'ancestorsVersion'>,
): string {
  return `${grant.version}.${grant.agentVersion}.${grant.resourceVersion}.${grant.ancestorsVersion}`;
}
