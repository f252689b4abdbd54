import { systemActor } from '../audit/audit-event.ts';
import { withTransaction } from '../db/transaction.ts';
import type { CleanUp, Target } from '../engines/engine.ts';
import { TargetFailure } from '../engines/target-failure.ts';
import { addSeconds } from '../platform/clock.ts';
import { shareRuns } from '../platform/share-runs.ts';
import type { LeasesDeps } from './deps.ts';
import { destroyAgainAt, lookAgainAt, mayStillBeMade, retryAt } from './lease.ts';
import * as store from './store/due.ts';

/** How long a claim lasts unless it is extended. If the process dies, another one continues after it. */
const claimSeconds = 6;
const actor = systemActor('end-leases');
const longestError = 500;

export const claimedUntil = (now: Date): Date => addSeconds(now, claimSeconds);

/** Claims up to `limit` leases of a queue. What fails is retried without end. */
export async function claimLeases(
  { db, clock, audit }: LeasesDeps,
  queue: store.Queue & { turn: store.Turn },
  limit: number,
): Promise<store.ClaimedLease[]> {
  return withTransaction(db, async (tx) => {
    const now = clock.now();
    const leases = await store.claimDue(tx, { ...queue, now, until: claimedUntil(now), limit, by: actor.id });
    const begun = leases.filter(({ begins }) => begins !== null);
    await audit.appendAll(
      tx,
      begun.map((lease) => ({
        ...about(lease),
        type: 'lease.revoking' as const,
        details: { reason: lease.begins },
      })),
    );
    return leases;
  });
}

const about = ({ id, grantId, agentId }: Pick<store.ClaimedLease, 'id' | 'grantId' | 'agentId'>) => ({
  actor,
  objectId: id,
  grantId,
  agentId,
});

export interface Attempt {
  lease: store.ClaimedLease;
  result: store.Attempted;
  /** Whether the target could not be reached. It is then left alone for a while. */
  isOutage: boolean;
}

/**
 * Opens the target of a queue. Returns a function that ends the access of a lease, or cleans up after one whose access
 * has ended, and does not throw.
 */
export async function openQueue(
  deps: LeasesDeps,
  queue: store.Queue,
): Promise<(lease: store.ClaimedLease) => Promise<Attempt>> {
  const target = await openTarget(deps, queue).catch((error: unknown) => error as Error);
  const checkHealth = shareRuns(async () => (target instanceof Error ? undefined : target.checkHealth()));
  return async (lease) => {
    try {
      if (target instanceof Error) throw target;
      return { lease, result: await endLease(deps, target, lease), isOutage: false };
    } catch (error) {
      const { connectionId } = queue;
      deps.onTargetFailure({ connectionId, leaseId: lease.id, error });
      const text = error instanceof Error ? error.message : String(error);
      const isOutage = await isUnreachable(checkHealth, error);
      return { lease, result: failed(deps, lease, text), isOutage };
    }
  };
}

async function openTarget(
  { db, connections }: LeasesDeps,
  { connectionId, phase }: store.Queue,
): Promise<Target> {
  const connection = await connections.find(db, connectionId);
  if (connection === undefined) throw new Error(`connection ${connectionId} does not exist`);
  return connections.open(connection, phase);
}

/**
 * Whether a call failed because its target cannot be reached. One that answers another call is well: an account can make
 * the calls for its own end time out, for example with locks, and must not delay the end of others.
 */
async function isUnreachable(checkHealth: () => Promise<unknown>, error: unknown): Promise<boolean> {
  if (!(error instanceof TargetFailure) || !error.isUnreachable) return false;
  try {
    await checkHealth();
    return false;
  } catch {
    return true;
  }
}

const unchanged = {
  accessDisabledAt: null,
  cleanedUpAt: null,
  ownedObjects: null,
  isRevoked: false,
  error: null,
};

/** Ends access, or cleans up after it has ended. */
async function endLease(
  { clock }: LeasesDeps,
  target: Target,
  lease: store.ClaimedLease,
): Promise<store.Attempted> {
  const { id, attempts, accountName: name } = lease;
  const result = { ...unchanged, id, attempts };
  if (lease.accessDisabledAt !== null) {
    return { ...result, ...cleanedUp(await target.cleanUp(name), clock.now()) };
  }
  await target.disableAccess(name);
  await target.endSessions(name);
  const now = clock.now();
  if (!mayStillBeMade(lease, now)) return { ...result, accessDisabledAt: now, nextAttemptAt: now };
  // Its account is destroyed already now if it exists, and looked for again when nobody can make it any more.
  await target.cleanUp(name);
  return { ...result, nextAttemptAt: destroyAgainAt(lease) };
}

function cleanedUp({ isGone, ownedObjects }: CleanUp, now: Date) {
  return {
    cleanedUpAt: isGone ? now : null,
    ownedObjects,
    isRevoked: true,
    nextAttemptAt: isGone ? null : lookAgainAt(now),
  };
}

function failed(
  { clock }: Pick<LeasesDeps, 'clock'>,
  { id, attempts, accessDisabledAt }: store.ClaimedLease,
  text: string,
): store.Attempted {
  const hasAccess = accessDisabledAt === null;
  const nextAttemptAt = retryAt({ attempts, now: clock.now(), hasAccess });
  return { ...unchanged, id, attempts, nextAttemptAt, error: text.slice(0, longestError) };
}

/** Writes the results of attempts to the leases and the audit log. */
export async function recordAttempts({ db, audit }: LeasesDeps, attempts: readonly Attempt[]): Promise<void> {
  await withTransaction(db, async (tx) => {
    const results = attempts.map(({ result }) => result);
    const recorded = new Set(await store.recordAttempts(tx, results));
    const events = attempts
      .filter(({ lease }) => recorded.has(lease.id))
      .flatMap(({ lease, result: { accessDisabledAt, cleanedUpAt } }) => [
        ...(accessDisabledAt === null ? [] : [{ ...about(lease), type: 'lease.revoked' as const }]),
        ...(cleanedUpAt === null ? [] : [{ ...about(lease), type: 'lease.cleaned_up' as const }]),
      ]);
    await audit.appendAll(tx, events);
  });
}

const endedGrant = 'its grant ended';

/** Begins to revoke the leases whose grants have ended. Returns how many. */
export async function revokeUnderEndedGrants({ db, clock, audit }: LeasesDeps): Promise<number> {
  return withTransaction(db, async (tx) => {
    const at = clock.now();
    const revocation = { at, by: actor.id, reason: endedGrant };
    const leases = await store.revokeUnderEndedGrants(tx, revocation, 1_000);
    const details = { reason: endedGrant };
    await audit.appendAll(
      tx,
      leases.map((lease) => ({ ...about(lease), type: 'lease.revoking' as const, details })),
    );
    return leases.length;
  });
}
