import type { Detail } from '../authorization-details/details-type.ts';
import { addSeconds } from '../platform/clock.ts';
import type { PolicyRef } from '../policies/facts.ts';
import type { Delegation } from './delegation/delegation.ts';

export const grantStatuses = [
  'pending',
  'scheduled',
  'active',
  'denied',
  'cancelled',
  'lapsed',
  'expired',
  'revoked',
  'returned',
] as const;
export type GrantStatus = (typeof grantStatuses)[number];

/** Every way a grant may go. Nothing leads out of a state that has no entry here. */
const transitions: Record<GrantStatus, readonly GrantStatus[]> = {
  pending: ['active', 'scheduled', 'denied', 'cancelled', 'lapsed'],
  scheduled: ['active', 'cancelled', 'revoked'],
  active: ['expired', 'revoked', 'returned'],
  denied: [],
  cancelled: [],
  lapsed: [],
  expired: [],
  revoked: [],
  returned: [],
};

export function canMove(from: GrantStatus, to: GrantStatus): boolean {
  return transitions[from].includes(to);
}

export function hasEnded(status: GrantStatus): boolean {
  return transitions[status].length === 0;
}

/** How long a request waits for a decision. */
const lapseSeconds = 24 * 60 * 60;

export function lapseTime(requestedAt: Date): Date {
  return addSeconds(requestedAt, lapseSeconds);
}

/** So many open grants an agent may have for one resource, and in all: what is read per token stays small. */
export const maxOpenGrants = { forResource: 100, total: 1000 };

/** Of those that were handed down to it, which are short and read one by one, it may have more. */
export const maxHandedDown = { forResource: 1000, total: 1000 };

/** What people agreed to, in number and groups, fixed when the grant became active. */
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

/** The times and versions that decide what a grant is worth at an instant. */
export interface GrantLife {
  status: GrantStatus;
  lapsesAt: Date;
  startsAt: Date | null;
  expiresAt: Date | null;
  /**
   * When the first of what it hangs on ended: the epochs of agent and resource that it was issued under, and the grants that
   * it was handed down from; null: all last.
   */
  outerEndedAt: Date | null;
  /** When the first agent ends of its own and those above it. */
  agentExpiresAt: Date | null;
}

export interface ScopeText {
  name: string;
  description: string;
  risk: 'low' | 'medium' | 'high';
}

export interface Grant extends GrantLife {
  id: string;
  version: number;
  agentId: string;
  /** The agent's owner now. */
  ownerId: string;
  agentVersion: number;
  resourceId: string;
  resource: string;
  resourceVersion: number;
  /** Rises with every change of the grants above it and their agents; 0: there are none. */
  lineVersion: number;
  /** The resource's catalogue now. */
  catalogue: ScopeText[];
  requestedScopes: string[];
  requestedDurationSeconds: number;
  scopes: string[];
  durationSeconds: number;
  reason: string;
  ticket: string | null;
  /** What it is for within its scopes (RFC 9396); null: none. */
  authorizationDetails: Detail[] | null;
  requestDigest: string;
  approvalsRequired: number;
  policies: PolicyRef[];
  /** The epochs it was issued under. */
  agentEpoch: number;
  resourceEpoch: number;
  /** The grants that it was handed down from, the first one first; empty: it is its agent's own. */
  ancestors: string[];
  /** Of one that was handed down: whom its tokens are of, and who acts. */
  delegation: Delegation | null;
  ownerAtRequest: string;
  requestedAt: Date;
  decidedAt: Date | null;
  endedAt: Date | null;
  endedBy: string | null;
  endReason: string | null;
}

/**
 * What a grant is at `now`, whatever its row still says: the worker writes endings down later, and nobody waits for it.
 * Of its own time and what it hangs on (whose end ends it for ever, a pending one as denied) the earlier has ended it,
 * whenever somebody asks: what has ended keeps its end. Its agent's own expiry comes last.
 */
export function effectiveStatus(grant: GrantLife, now: Date): GrantStatus {
  const { status, outerEndedAt } = grant;
  if (hasEnded(status)) return status;
  const pending = status === 'pending';
  const end = pending ? grant.lapsesAt : grant.expiresAt;
  if (outerEndedAt !== null && (end === null || outerEndedAt < end)) return pending ? 'denied' : 'revoked';
  if (outerEndedAt !== null || (end !== null && end <= now)) return pending ? 'lapsed' : 'expired';
  if (grant.agentExpiresAt !== null && grant.agentExpiresAt <= now) return pending ? 'lapsed' : 'expired';
  if (pending) return 'pending';
  // An active one has begun, whatever a clock says that is behind that of the replica that activated it.
  const waits = status === 'scheduled' && grant.startsAt !== null && grant.startsAt > now;
  return waits ? 'scheduled' : 'active';
}

/** The stored states that a grant of this effective state may have. */
export function storedStatuses(effective: GrantStatus): GrantStatus[] {
  const undecided: Partial<Record<GrantStatus, GrantStatus[]>> = {
    active: ['scheduled'],
    denied: ['pending'],
    lapsed: ['pending'],
    expired: ['active', 'scheduled'],
    revoked: ['active', 'scheduled'],
  };
  return [effective, ...(undecided[effective] ?? [])];
}

/** The next instant at which time alone changes what the grant is; undefined if none does. */
export function nextBoundary(grant: GrantLife, now: Date): Date | undefined {
  const times = grant.status === 'pending' ? [grant.lapsesAt] : [grant.startsAt, grant.expiresAt];
  const due = [...times, grant.agentExpiresAt].filter((time): time is Date => time !== null && time > now);
  return hasEnded(grant.status) ? undefined : due.sort((a, b) => a.getTime() - b.getTime())[0];
}

/** When a grant decided at `decidedAt` runs: never beyond the agent's own expiry. */
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

/** What an approver asked to narrow a grant to; undefined: as it is. */
export interface Narrowing {
  scopes?: string[] | undefined;
  durationSeconds?: number | undefined;
}

/** The terms after narrowing, in the order of the request; undefined if it asks for more than there is. */
export function narrow(
  terms: { scopes: string[]; durationSeconds: number },
  { scopes = terms.scopes, durationSeconds = terms.durationSeconds }: Narrowing,
): { scopes: string[]; durationSeconds: number } | undefined {
  const within = scopes.length > 0 && scopes.every((scope) => terms.scopes.includes(scope));
  if (!within || durationSeconds < 1 || durationSeconds > terms.durationSeconds) return undefined;
  return { scopes: terms.scopes.filter((scope) => scopes.includes(scope)), durationSeconds };
}

/** The version of everything a grant shows, as an entity tag (RFC 9110 section 8.8.3). */
export function entityTag(grant: Grant, now: Date): string {
  return `"${changeStamp(grant)}-${effectiveStatus(grant, now)}"`;
}

/**
 * Whether an `If-None-Match` field names `tag`: a list, compared weakly (RFC 9110 section 13.1.2), because a proxy that
 * compresses makes tags weak; `*` names every version.
 */
export function matchesTag(field: string, tag: string): boolean {
  const tags = field.split(',').map((one) => one.trim().replace(/^W\//, ''));
  return tags.includes(tag) || tags.includes('*');
}

/** The versions of the rows that a grant is made of. */
export function changeStamp(
  grant: Pick<Grant, 'version' | 'agentVersion' | 'resourceVersion' | 'lineVersion'>,
): string {
  return `${grant.version}.${grant.agentVersion}.${grant.resourceVersion}.${grant.lineVersion}`;
}
