import { type GrantStatus, hasEnded } from './states.ts';

/**
 * The only definition of the effective status of a grant; `liveness-sql.ts`
 * states the same rules in SQL. A property test compares the two.
 */

/** The stored status and the times that determine the effective status of a grant. */
export interface GrantLife {
  status: GrantStatus;
  lapsesAt: Date;
  startsAt: Date | null;
  expiresAt: Date | null;
  /**
   * When the first thing on which the grant depends ended: the epochs of agent and resource under which it was made, its
   * ancestors, and the subject tokens for which it was delegated; null if none of them has ended.
   */
  epochsEndedAt: Date | null;
  /** The earliest expiry of its agent and its ancestors' agents; null if none expires. */
  agentExpiresAt: Date | null;
}

/**
 * Returns the status of a grant at `now`. It may differ from the stored one, because the worker writes it later and
 * no reader waits for it. The earlier of its own end and `epochsEndedAt` (which denies a pending grant) decides,
 * at every later `now`: an ended grant keeps its end. The expiry of its agent counts last, because it can be moved.
 */
export function effectiveStatus(grant: GrantLife, now: Date): GrantStatus {
  const { status, epochsEndedAt } = grant;
  if (hasEnded(status)) return status;
  const pending = status === 'pending';
  const end = pending ? grant.lapsesAt : grant.expiresAt;
  if (epochsEndedAt !== null && (end === null || epochsEndedAt < end)) return pending ? 'denied' : 'revoked';
  if (epochsEndedAt !== null || isOver(end, now) || isOver(grant.agentExpiresAt, now))
    return pending ? 'lapsed' : 'expired';
  if (pending) return 'pending';
  return hasBegun(grant, now) ? 'active' : 'scheduled';
}

/** Whether a grant is active at `now`. */
export function isActive(grant: GrantLife, now: Date): boolean {
  return effectiveStatus(grant, now) === 'active';
}

/** Whether a grant that has begun at `now` lasts until `until`: a credential that expires then may be issued. */
export function isUsableUntil(grant: GrantLife, { now, until }: { now: Date; until: Date }): boolean {
  const { status, expiresAt, agentExpiresAt, epochsEndedAt } = grant;
  if (hasEnded(status) || status === 'pending' || epochsEndedAt !== null) return false;
  const lasts =
    expiresAt !== null && expiresAt >= until && (agentExpiresAt === null || agentExpiresAt >= until);
  return lasts && hasBegun(grant, now);
}

/** Returns when an active grant ends by itself: at its own expiry, or at that of an agent on which it depends. */
export function endOf({ expiresAt, agentExpiresAt }: Pick<GrantLife, 'expiresAt' | 'agentExpiresAt'>): Date {
  const times = [expiresAt, agentExpiresAt].filter((time) => time !== null);
  return new Date(Math.min(...times.map((time) => time.getTime())));
}

/** Whether a grant has begun. An active one has, even if this clock is behind that of another replica. */
function hasBegun({ status, startsAt }: GrantLife, now: Date): boolean {
  return status === 'active' || (status === 'scheduled' && startsAt !== null && startsAt <= now);
}

function isOver(end: Date | null, now: Date): boolean {
  return end !== null && end <= now;
}

/** Returns the statuses that may be stored for a grant with this effective status. */
export function storedStatuses(effective: GrantStatus): GrantStatus[] {
  const unwritten: Partial<Record<GrantStatus, GrantStatus[]>> = {
    active: ['scheduled'],
    denied: ['pending'],
    lapsed: ['pending'],
    expired: ['active', 'scheduled'],
    revoked: ['active', 'scheduled'],
  };
  return [effective, ...(unwritten[effective] ?? [])];
}

/** Returns the next instant at which time alone changes the effective status; undefined if time alone changes it no more. */
export function nextBoundary(grant: GrantLife, now: Date): Date | undefined {
  const times = grant.status === 'pending' ? [grant.lapsesAt] : [grant.startsAt, grant.expiresAt];
  const due = [...times, grant.agentExpiresAt].filter((time): time is Date => time !== null && time > now);
  return hasEnded(grant.status) ? undefined : due.sort((a, b) => a.getTime() - b.getTime())[0];
}
