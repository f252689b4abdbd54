import { type NewAuditEvent, systemActor } from '../audit/audit-event.ts';
import { withTransaction } from '../db/transaction.ts';
import type { CleanUp, Target } from '../engines/engine.ts';
import { TargetFailure } from '../engines/target-failure.ts';
import { addSeconds } from '../platform/clock.ts';
import type { LeasesDeps } from './deps.ts';
import { destroyAgainAt, lookAgainAt, mayStillBeMade, retryAt } from './lease.ts';
import * as store from './store/due.ts';

/** How many leases one worker claims from a connection at a time, and how many of them it ends at the same time. */
const claimRows = 16;
const atOnce = 4;
/** How long a claim lasts. If the process dies, another one continues after it. */
const claimSeconds = 15;
const actor = systemActor('end-leases');
const longestError = 500;

/** The result of one call of `endDueAt`. */
export interface EndedAt {
  /** How many leases were worked on. */
  count: number;
  /** Whether the target could not be reached: a worker then leaves it alone for a while. */
  isOutage: boolean;
}

/**
 * Ends one batch of the leases of a connection that are due: first the access of all, and only when no access is left
 * to be ended, what else there is to clean up. What fails is retried without end.
 */
export async function endDueAt(deps: LeasesDeps, connectionId: string): Promise<EndedAt> {
  const claimed =
    (await claim(deps, connectionId, 'disable')) ?? (await claim(deps, connectionId, 'clean-up')) ?? [];
  if (claimed.length === 0) return { count: 0, isOutage: false };
  const attempted = await endAll(deps, connectionId, claimed);
  await record(
    deps,
    claimed,
    attempted.map(({ result }) => result),
  );
  return { count: claimed.length, isOutage: attempted.some(({ isOutage }) => isOutage) };
}

async function claim(
  { db, clock, audit }: LeasesDeps,
  connectionId: string,
  phase: store.Phase,
): Promise<store.ClaimedLease[] | undefined> {
  const claimed = await withTransaction(db, async (tx) => {
    const now = clock.now();
    const until = addSeconds(now, claimSeconds);
    const leases = await store.claimDue(tx, {
      connectionId,
      phase,
      now,
      until,
      limit: claimRows,
      by: actor.id,
    });
    const begun = leases.filter(({ begins }) => begins !== null);
    const events = begun.map((lease) => ({
      ...about(lease),
      type: 'lease.revoking' as const,
      details: { reason: lease.begins },
    }));
    await audit.appendAll(tx, events);
    return leases;
  });
  return claimed.length === 0 ? undefined : claimed;
}

const about = ({ id, grantId, agentId }: Pick<store.ClaimedLease, 'id' | 'grantId' | 'agentId'>) => ({
  actor,
  objectId: id,
  grantId,
  agentId,
});

interface Ended {
  result: store.Attempted;
  isOutage: boolean;
}

/** Ends the claimed leases, a few at the same time. After an outage the others are not tried. */
async function endAll(
  deps: LeasesDeps,
  connectionId: string,
  claimed: readonly store.ClaimedLease[],
): Promise<Ended[]> {
  const connection = await deps.connections.find(deps.db, connectionId);
  const waiting = [...claimed];
  const ended: Ended[] = [];
  const work = async (): Promise<void> => {
    for (let lease = waiting.shift(); lease !== undefined; lease = waiting.shift()) {
      const outage = ended.find(({ isOutage }) => isOutage);
      if (outage !== undefined) {
        ended.push(toFailed(deps, lease, { text: outage.result.error ?? '', isOutage: true }));
        continue;
      }
      try {
        if (connection === undefined) throw new Error(`connection ${connectionId} does not exist`);
        const result = await endLease(deps, deps.connections.open(connection, 'end'), lease);
        ended.push({ result, isOutage: false });
      } catch (error) {
        deps.onTargetFailure({ connectionId, leaseId: lease.id, error });
        const isOutage = error instanceof TargetFailure && error.isUnreachable;
        const text = error instanceof Error ? error.message : String(error);
        ended.push(toFailed(deps, lease, { text, isOutage }));
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return ended;
}

/** Ends access, or cleans up after it has ended. */
async function endLease(
  deps: LeasesDeps,
  target: Target,
  lease: store.ClaimedLease,
): Promise<store.Attempted> {
  const { accountName: name } = lease;
  const unchanged = {
    id: lease.id,
    accessDisabledAt: null,
    cleanedUpAt: null,
    ownedObjects: [],
    error: null,
  };
  if (lease.accessDisabledAt !== null) return cleanedUp(deps, lease, await target.cleanUp(name));
  await target.disableAccess(name);
  await target.endSessions(name);
  const now = deps.clock.now();
  if (!mayStillBeMade(lease, now)) {
    return { ...unchanged, accessDisabledAt: now, isRevoked: false, nextAttemptAt: now };
  }
  // Its account is destroyed already now if it exists, and looked for again when nobody can make it any more.
  await target.cleanUp(name);
  return { ...unchanged, isRevoked: false, nextAttemptAt: destroyAgainAt(lease) };
}

function cleanedUp(
  deps: LeasesDeps,
  lease: store.ClaimedLease,
  { isGone, ownedObjects }: CleanUp,
): store.Attempted {
  const now = deps.clock.now();
  return {
    id: lease.id,
    accessDisabledAt: null,
    cleanedUpAt: isGone ? now : null,
    ownedObjects: [...ownedObjects],
    isRevoked: true,
    nextAttemptAt: isGone ? null : lookAgainAt(now),
    error: null,
  };
}

function toFailed(
  { clock }: LeasesDeps,
  { id, attempts }: store.ClaimedLease,
  { text, isOutage }: { text: string; isOutage: boolean },
): Ended {
  const nextAttemptAt = retryAt({ attempts, now: clock.now(), isOutage });
  const nothing = { accessDisabledAt: null, cleanedUpAt: null, ownedObjects: [], isRevoked: false };
  return { result: { id, ...nothing, nextAttemptAt, error: text.slice(0, longestError) }, isOutage };
}

async function record(
  { db, audit }: LeasesDeps,
  claimed: readonly store.ClaimedLease[],
  results: readonly store.Attempted[],
): Promise<void> {
  const byId = new Map(claimed.map((lease) => [lease.id, lease]));
  await withTransaction(db, async (tx) => {
    const written = new Set(await store.recordAttempts(tx, results));
    const events = results.flatMap((result): NewAuditEvent[] => {
      const lease = byId.get(result.id);
      if (lease === undefined || !written.has(result.id)) return [];
      if (result.accessDisabledAt !== null) return [{ ...about(lease), type: 'lease.revoked' }];
      if (result.cleanedUpAt !== null) return [{ ...about(lease), type: 'lease.cleaned_up' }];
      return [];
    });
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
