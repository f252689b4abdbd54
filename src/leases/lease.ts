import type { EngineKind } from '../engines/terms.ts';
import { addSeconds } from '../platform/clock.ts';
import { nextAttemptAt } from '../platform/retry.ts';

export type LeaseStatus = 'creating' | 'active' | 'revoking' | 'revoked';

/** An account in a target, made for one agent under one grant. */
export interface Lease {
  /** `lse_...` */
  id: string;
  grantId: string;
  agentId: string;
  resourceId: string;
  connectionId: string;
  /** The kind of its target. */
  kind: EngineKind;
  /** The stored status. See `effectiveStatus`. */
  status: LeaseStatus;
  /** Whether its grant is active. */
  isGrantActive: boolean;
  accountName: string;
  createdAt: Date;
  /** After this instant no process makes the account any more. */
  createDeadlineAt: Date;
  /** Null if the account was not made. */
  activatedAt: Date | null;
  expiresAt: Date;
  revokedAt: Date | null;
  revokedBy: string | null;
  revokeReason: string | null;
  /** When the target had taken login and privileges from the account and had ended its sessions. */
  accessDisabledAt: Date | null;
  /** When the broker checked in the target that the account was gone. */
  cleanedUpAt: Date | null;
  /** What the account still owns in the target, for a person to read. */
  ownedObjects: string[];
  /** The number of attempts at the current step of its end since the last success, including one under way. */
  attempts: number;
  nextAttemptAt: Date | null;
  lastError: string | null;
}

/** A lease that is recorded before its account is made. */
export type NewLease = Pick<
  Lease,
  'id' | 'grantId' | 'agentId' | 'resourceId' | 'connectionId' | 'accountName'
> &
  Pick<Lease, 'createdAt' | 'createDeadlineAt' | 'expiresAt'>;

/**
 * Returns the status of a lease at `now`: one that has expired, or whose grant has ended, is no longer active, although
 * a worker writes it a moment later.
 */
export function effectiveStatus(
  { status, expiresAt, isGrantActive }: Pick<Lease, 'status' | 'expiresAt' | 'isGrantActive'>,
  now: Date,
): LeaseStatus {
  const hasEnded = expiresAt <= now || !isGrantActive;
  return hasEnded && (status === 'creating' || status === 'active') ? 'revoking' : status;
}

/** Whether a lease has ended without its account ever having been usable. */
export function wasNeverActive({ status, activatedAt }: Pick<Lease, 'status' | 'activatedAt'>): boolean {
  return activatedAt === null && status !== 'creating';
}

/** Returns a lease as it is when its account has just been made. */
export function newlyActive(lease: NewLease & { kind: EngineKind; activatedAt: Date }): Lease {
  return {
    ...lease,
    status: 'active',
    isGrantActive: true,
    revokedAt: null,
    revokedBy: null,
    revokeReason: null,
    accessDisabledAt: null,
    cleanedUpAt: null,
    ownedObjects: [],
    attempts: 0,
    nextAttemptAt: lease.expiresAt,
    lastError: null,
  };
}

/** The most leases whose accounts are not removed: of one agent at one resource, of one resource, and in total. */
export const maxLeases = { ofAgent: 100, ofResource: 1_000, total: 10_000 };

/** The longest time in which a target may make an account. It is longer than an engine's calls take altogether. */
const createSeconds = 20;

export function createDeadline(createdAt: Date): Date {
  return addSeconds(createdAt, createSeconds);
}

/** Returns when a lease expires: never after its grant. `ttlSeconds` is undefined if the agent did not ask for less. */
export function leaseExpiry(options: {
  now: Date;
  ttlSeconds: number | undefined;
  grantExpiresAt: Date;
}): Date {
  const { now, ttlSeconds, grantExpiresAt } = options;
  if (ttlSeconds === undefined) return grantExpiresAt;
  const end = addSeconds(now, ttlSeconds);
  return end < grantExpiresAt ? end : grantExpiresAt;
}

/**
 * Whether an account that was destroyed now may still be made: a process that was stopped in between could make it
 * until the deadline. A lease whose account was never used must therefore be destroyed again after it.
 */
export function mayStillBeMade(
  { activatedAt, createDeadlineAt }: Pick<Lease, 'activatedAt' | 'createDeadlineAt'>,
  now: Date,
): boolean {
  return activatedAt === null && now <= addSeconds(createDeadlineAt, clockDifferenceSeconds);
}

/** How much the clocks of two replicas may differ, each of which differs from that of the database by less than 2 s. */
const clockDifferenceSeconds = 5;

/** Returns when an account that may still be made is destroyed again. */
export function destroyAgainAt({ createDeadlineAt }: Pick<Lease, 'createDeadlineAt'>): Date {
  return addSeconds(createDeadlineAt, clockDifferenceSeconds + 1);
}

/** The longest wait while an account may have access: it must end soon after what prevents it is over. */
const longestWaitSeconds = 15;

/** Returns the next attempt to end a lease after `attempts` failures. There is no last attempt. */
export function retryAt(options: { attempts: number; now: Date; hasAccess: boolean }): Date {
  const { attempts, now, hasAccess } = options;
  const next = nextAttemptAt(attempts, now);
  const latest = addSeconds(now, longestWaitSeconds);
  return hasAccess && next > latest ? latest : next;
}

/** How often a worker looks whether an account still owns objects that are kept. */
const ownedObjectsSeconds = 3_600;

export function lookAgainAt(now: Date): Date {
  return addSeconds(now, ownedObjectsSeconds);
}

/** What an agent needs to log in, shown once. */
export interface LeaseCredential {
  username: string;
  password: string;
  host: string;
  port: number;
  database: string | null;
}
