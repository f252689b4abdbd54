import { type Actor, byAct, type NewAuditEvent, systemActor } from '../audit/audit-event.ts';
import type { Act, Origin, Person } from '../caller.ts';
import { withTransaction } from '../db/transaction.ts';
import { accountPrefix } from '../engines/account-name.ts';
import type { FoundAccount, Target } from '../engines/engine.ts';
import { TargetFailure } from '../engines/target-failure.ts';
import { BrokerError } from '../errors.ts';
import { addSeconds } from '../platform/clock.ts';
import type { LeasesDeps } from './deps.ts';
import { beginRevoking } from './store/leases.ts';
import * as store from './store/reconcile.ts';

/** What differed between a target and the leases, and what was done about it. */
export interface Reconciliation {
  /** The number of accounts of this installation in the target. */
  accounts: number;
  /** The accounts that no lease needs: they were destroyed. */
  destroyed: string[];
  /** The accounts that no lease needs and that still own objects: they have no access. */
  disabled: string[];
  /** The accounts that no lease needs and that could not be disabled or removed now. They are tried again. */
  failed: string[];
  /** The leases whose account is missing or cannot log in: they are revoked. */
  revoked: string[];
  /** The accounts that expire later in the target than their lease. A worker ends them in time all the same. */
  outliving: string[];
}

/** How much later than its lease an account may expire in the target: the clocks differ a little. */
const toleranceSeconds = 5;

/** Compares the target of a resource with its leases, for an admin. Throws `not-found`, `target-unavailable`. */
export async function reconcile(
  deps: LeasesDeps,
  act: Act<Person>,
  resourceId: string,
): Promise<Reconciliation> {
  const found = (await store.listTargets(deps.db)).find((target) => target.resourceId === resourceId);
  if (found === undefined) throw new BrokerError('not-found');
  try {
    return await reconcileTarget(deps, found, byAct(act));
  } catch (error) {
    if (!(error instanceof TargetFailure)) throw error;
    throw new BrokerError('target-unavailable', { cause: error, retryAfterSeconds: 5 });
  }
}

/**
 * Compares every target with its leases. A target that fails is left out. Returns how many accounts and
 * leases it changed.
 */
export async function reconcileAll(deps: LeasesDeps, signal: AbortSignal): Promise<number> {
  let changed = 0;
  for (const target of await store.listTargets(deps.db)) {
    if (signal.aborted) break;
    try {
      const result = await reconcileTarget(deps, target, { actor: systemActor('reconcile-targets') });
      changed += countChanges(result);
    } catch (error) {
      // One target must not keep the others.
      deps.onTargetFailure({ connectionId: target.connectionId, error });
    }
  }
  return changed;
}

interface Actors {
  actor: Actor;
  origin?: Origin;
}

const countChanges = ({ destroyed, disabled, revoked }: Reconciliation): number =>
  destroyed.length + disabled.length + revoked.length;

async function reconcileTarget(
  deps: LeasesDeps,
  { resourceId, connectionId }: { resourceId: string; connectionId: string },
  by: Actors,
): Promise<Reconciliation> {
  const { db, clock, connections } = deps;
  const connection = await connections.find(db, connectionId);
  if (connection === undefined) throw new BrokerError('not-found');
  const target = connections.open(connection, 'clean-up');
  // Keeps a connection ready with which access can end although an agent takes all others that the target allows.
  await connections.open(connection, 'disable').checkHealth();
  const before = addSeconds(clock.now(), -toleranceSeconds);
  // The target is read first: a lease is recorded before its account is made, so every needed account is known.
  const accounts = await target.listAccounts(accountPrefix(await connections.installationId()));
  const names = accounts.map(({ name }) => name);
  const known = await store.findByAccountNames(db, names);
  const tested = new Set(await store.findPreflightNames(db, names));
  const byName = new Map(known.map((lease) => [lease.accountName, lease]));
  const isNeeded = ({ name }: FoundAccount): boolean =>
    tested.has(name) || byName.get(name)?.isCleanedUp === false;
  const open = await store.findActiveAt(db, { connectionId, before });
  const found = new Map(accounts.map((account) => [account.name, account]));
  const broken = open.filter(({ accountName }) => found.get(accountName)?.canLogIn !== true);
  const revoked = await revokeAll(deps, broken, by);
  const outliving = findOutliving(open, found);
  const unneeded = accounts.filter((account) => !isNeeded(account));
  await announce(deps, { resourceId, by, unneeded });
  const ended = await destroyAll(target, unneeded);
  const result = { accounts: accounts.length, ...ended, revoked, outliving };
  await record(deps, { resourceId, by, result });
  return result;
}

async function destroyAll(
  target: Target,
  accounts: readonly FoundAccount[],
): Promise<Pick<Reconciliation, 'destroyed' | 'disabled' | 'failed'>> {
  const ended = { destroyed: [] as string[], disabled: [] as string[], failed: [] as string[] };
  for (const { name, canLogIn } of accounts) {
    try {
      await target.disableAccess(name);
      await target.endSessions(name);
      const { isGone } = await target.cleanUp(name);
      if (isGone) ended.destroyed.push(name);
      // One that was disabled before is no news.
      else if (canLogIn) ended.disabled.push(name);
    } catch (error) {
      // One account must not keep the others. A target that cannot be reached fails for all.
      if (!(error instanceof TargetFailure) || error.problem === 'unreachable') throw error;
      ended.failed.push(name);
    }
  }
  return ended;
}

/** Records the accounts that will be destroyed, before the target changes. */
async function announce(
  { db, audit }: LeasesDeps,
  { resourceId, by, unneeded }: { resourceId: string; by: Actors; unneeded: readonly FoundAccount[] },
): Promise<void> {
  const news = unneeded.filter(({ canLogIn }) => canLogIn).map(({ name }) => name);
  if (news.length === 0) return;
  const details = { unneeded: news.slice(0, 100), count: news.length };
  const event: NewAuditEvent = { ...by, type: 'target.unneeded_accounts', objectId: resourceId, details };
  await withTransaction(db, (tx) => audit.append(tx, event));
}

const brokenReason = 'its account is missing in the target, or cannot log in';

async function revokeAll(
  deps: LeasesDeps,
  broken: readonly store.KnownAccount[],
  by: Actors,
): Promise<string[]> {
  const { db, clock, audit } = deps;
  const revoked: string[] = [];
  for (const { id, agentId, grantId } of broken) {
    await withTransaction(db, async (tx) => {
      const revocation = { at: clock.now(), by: by.actor.id, reason: brokenReason };
      if (!(await beginRevoking(tx, id, revocation))) return;
      const about = { ...by, objectId: id, agentId, grantId };
      await audit.append(tx, { ...about, type: 'lease.revoking', details: { reason: brokenReason } });
      revoked.push(id);
    });
  }
  return revoked;
}

/** Returns the accounts that expire later in the target than their lease. A worker ends them in time all the same. */
function findOutliving(
  open: readonly store.KnownAccount[],
  found: ReadonlyMap<string, FoundAccount>,
): string[] {
  const outlives = ({ accountName, expiresAt }: store.KnownAccount): boolean =>
    (found.get(accountName)?.expiresAt ?? expiresAt) > addSeconds(expiresAt, toleranceSeconds);
  return open.filter(outlives).map(({ accountName }) => accountName);
}

/** Records what a person asked for, and what a job changed. */
async function record(
  { db, audit }: LeasesDeps,
  { resourceId, by, result }: { resourceId: string; by: Actors; result: Reconciliation },
): Promise<void> {
  if (by.origin === undefined && countChanges(result) === 0) return;
  const event: NewAuditEvent = {
    ...by,
    type: 'target.reconciled',
    objectId: resourceId,
    details: { ...result },
  };
  await withTransaction(db, (tx) => audit.append(tx, event));
}
