import { systemActor } from '../audit/audit-event.ts';
import { withTransaction } from '../db/transaction.ts';
import type { CleanUp, Target } from '../engines/engine.ts';
import { TargetFailure } from '../engines/target-failure.ts';
import { addSeconds } from '../platform/clock.ts';
import type { LeasesDeps } from './deps.ts';
import { destroyAgainAt, lookAgainAt, mayStillBeMade, retryAt } from './lease.ts';
import * as store from './store/due.ts';

/** How long a claim lasts: as long as the calls of one attempt. If the process dies, another one continues after it. */
const claimSeconds = 25;
const actor = systemActor('end-leases');
const longestError = 500;

/**
 * - `nothing`: no lease was due.
 * - `done`: an attempt was made, successful or not.
 * - `outage`: the target could not be reached. It is then left alone for a while.
 */
export type Outcome = 'nothing' | 'done' | 'outage';

/**
 * Ends the access of the lease of a connection that has been due for longest, or cleans up after one whose access has
 * ended. What fails is retried without end.
 */
export async function endNext(deps: LeasesDeps, queue: store.Queue): Promise<Outcome> {
  const lease = await claim(deps, queue);
  if (lease === undefined) return 'nothing';
  const { result, isOutage } = await attempt(deps, queue, lease);
  await record(deps, lease, result);
  return isOutage ? 'outage' : 'done';
}

async function claim(
  { db, clock, audit }: LeasesDeps,
  queue: store.Queue,
): Promise<store.ClaimedLease | undefined> {
  return withTransaction(db, async (tx) => {
    const now = clock.now();
    const until = addSeconds(now, claimSeconds);
    const lease = await store.claimNext(tx, { ...queue, now, until, by: actor.id });
    if (lease === undefined || lease.begins === null) return lease;
    const details = { reason: lease.begins };
    await audit.append(tx, { ...about(lease), type: 'lease.revoking', details });
    return lease;
  });
}

const about = ({ id, grantId, agentId }: Pick<store.ClaimedLease, 'id' | 'grantId' | 'agentId'>) => ({
  actor,
  objectId: id,
  grantId,
  agentId,
});

interface Attempt {
  result: store.Attempted;
  isOutage: boolean;
}

async function attempt(
  deps: LeasesDeps,
  { connectionId, phase }: store.Queue,
  lease: store.ClaimedLease,
): Promise<Attempt> {
  let target: Target | undefined;
  try {
    const connection = await deps.connections.find(deps.db, connectionId);
    if (connection === undefined) throw new Error(`connection ${connectionId} does not exist`);
    target = deps.connections.open(connection, phase);
    return { result: await endLease(deps, target, lease), isOutage: false };
  } catch (error) {
    deps.onTargetFailure({ connectionId, leaseId: lease.id, error });
    const text = error instanceof Error ? error.message : String(error);
    const isOutage = target !== undefined && (await isUnreachable(target, error));
    return { result: failed(deps, lease, text), isOutage };
  }
}

/**
 * Whether a call failed because its target cannot be reached. One that answers another call is well: an account can make
 * the calls for its own end time out, for example with locks, and must not delay the end of others.
 */
async function isUnreachable(target: Target, error: unknown): Promise<boolean> {
  if (!(error instanceof TargetFailure) || !error.isUnreachable) return false;
  try {
    await target.checkHealth();
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
  const { accountName: name } = lease;
  if (lease.accessDisabledAt !== null) return cleanedUp(await target.cleanUp(name), clock.now());
  await target.disableAccess(name);
  await target.endSessions(name);
  const now = clock.now();
  if (!mayStillBeMade(lease, now)) return { ...unchanged, accessDisabledAt: now, nextAttemptAt: now };
  // Its account is destroyed already now if it exists, and looked for again when nobody can make it any more.
  await target.cleanUp(name);
  return { ...unchanged, nextAttemptAt: destroyAgainAt(lease) };
}

function cleanedUp({ isGone, ownedObjects }: CleanUp, now: Date): store.Attempted {
  return {
    ...unchanged,
    cleanedUpAt: isGone ? now : null,
    ownedObjects,
    isRevoked: true,
    nextAttemptAt: isGone ? null : lookAgainAt(now),
  };
}

function failed(
  { clock }: LeasesDeps,
  { attempts, accessDisabledAt }: store.ClaimedLease,
  text: string,
): store.Attempted {
  const hasAccess = accessDisabledAt === null;
  const nextAttemptAt = retryAt({ attempts, now: clock.now(), hasAccess });
  return { ...unchanged, nextAttemptAt, error: text.slice(0, longestError) };
}

async function record(
  { db, audit }: LeasesDeps,
  lease: store.ClaimedLease,
  result: store.Attempted,
): Promise<void> {
  await withTransaction(db, async (tx) => {
    if (!(await store.recordAttempt(tx, lease.id, result))) return;
    if (result.accessDisabledAt !== null) await audit.append(tx, { ...about(lease), type: 'lease.revoked' });
    if (result.cleanedUpAt !== null) await audit.append(tx, { ...about(lease), type: 'lease.cleaned_up' });
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
