import { byAct } from '../audit/audit-event.ts';
import type { Act, Caller, Person, WorkloadAgent } from '../caller.ts';
import { type Page, takePage } from '../db/page.ts';
import { withTransaction } from '../db/transaction.ts';
import type { Engine } from '../engines/engine.ts';
import { BrokerError, refuse } from '../errors.ts';
import { describeCall, findEarlier, type IdempotentCall } from '../idempotency/idempotent-call.ts';
import { createLease } from './create.ts';
import type { LeasesDeps } from './deps.ts';
import {
  effectiveStatus,
  type Lease,
  type LeaseCredential,
  type LeaseStatus,
  wasNeverActive,
} from './lease.ts';
import { type Reconciliation, reconcile, reconcileAll } from './reconcile.ts';
import { renewLease } from './renew.ts';
import { readLeaseFigures } from './store/figures.ts';
import * as store from './store/leases.ts';

/** A lease and its effective status at an instant. */
export interface LeaseView {
  lease: Lease;
  status: LeaseStatus;
  fence: Engine['fence'];
  /** Present only in the answer to the call that made the lease. */
  credential?: LeaseCredential;
}

export interface LeaseCreation {
  grantId: string;
  ttlSeconds: number | undefined;
  idempotencyKey: string | undefined;
}

export type LeasesService = ReturnType<typeof createLeasesService>;

/** Creates the use cases of leases: making, reading, renewing and revoking them. */
export function createLeasesService(deps: LeasesDeps) {
  return {
    /** Compares the target of a resource with its leases. */
    reconcile: (act: Act<Person>, resourceId: string): Promise<Reconciliation> =>
      reconcile(deps, act, resourceId),
    /** Compares every target with its leases. Returns the number of changes. */
    reconcileAll: (signal: AbortSignal): Promise<number> => reconcileAll(deps, signal),
    /** For the metrics. */
    figures: () => readLeaseFigures(deps.db, deps.clock.now()),
    create: (act: Act<WorkloadAgent>, creation: LeaseCreation) => create(deps, act, creation),
    get: (caller: Caller, id: string) => show(deps, caller, id),
    list: (caller: Caller, filter: store.LeaseFilter, page: { limit: number; before: string | undefined }) =>
      list(deps, caller, { filter, page }),
    /** Moves the end of a lease, within its grant. */
    async renew(act: Act<WorkloadAgent>, renewal: { id: string; ttlSeconds: number | undefined }) {
      await renewLease(deps, act, renewal);
      return show(deps, act.caller, renewal.id);
    },
    async revoke(act: Act, { id, reason }: { id: string; reason: string }): Promise<LeaseView> {
      await revoke(deps, act, { id, reason });
      return show(deps, act.caller, id);
    },
  };
}

const view = ({ connections }: LeasesDeps, lease: Lease, now: Date): LeaseView => ({
  lease,
  status: effectiveStatus(lease, now),
  fence: connections.fenceOf(lease.kind),
});

/**
 * Makes a lease, or shows the one that the same call has made: its credential is never shown again. A call whose lease
 * never became active can be repeated, and then makes another one.
 */
async function create(
  deps: LeasesDeps,
  act: Act<WorkloadAgent>,
  { grantId, ttlSeconds, idempotencyKey: key }: LeaseCreation,
): Promise<LeaseView> {
  const by = { caller: act.caller.id, route: 'createLease' };
  const call = key === undefined ? undefined : describeCall({ ...by, key }, [grantId, ttlSeconds ?? null]);
  const earlier = await showEarlier(deps, act, call);
  if (earlier !== undefined && !wasNeverActive(earlier.lease)) return earlier;
  const made = await createLease(deps, act, { grantId, ttlSeconds, call, replaces: earlier?.lease.id });
  if (made !== undefined) {
    return { ...view(deps, made.lease, deps.clock.now()), credential: made.credential };
  }
  const other = await showEarlier(deps, act, call);
  if (other === undefined) throw new BrokerError('unavailable', { retryAfterSeconds: 1 });
  return other;
}

/** Shows the lease of an earlier call with the same idempotency key; undefined if no earlier call made a lease. */
async function showEarlier(
  deps: LeasesDeps,
  { caller }: Act<WorkloadAgent>,
  call: IdempotentCall | undefined,
): Promise<LeaseView | undefined> {
  const id = call === undefined ? undefined : await findEarlier(deps.db, call, deps.clock.now());
  return id === undefined ? undefined : show(deps, caller, id);
}

/** Whether the caller may see a lease: an agent its own, an admin all. */
function isVisible(caller: Caller, lease: Lease): boolean {
  return caller.kind === 'person' || lease.agentId === caller.id;
}

async function show(deps: LeasesDeps, caller: Caller, id: string): Promise<LeaseView> {
  const { db, clock } = deps;
  const now = clock.now();
  const lease = await store.findLease(db, id, now);
  if (lease === undefined || !isVisible(caller, lease)) throw new BrokerError('not-found');
  return view(deps, lease, now);
}

async function list(
  deps: LeasesDeps,
  caller: Caller,
  { filter, page }: { filter: store.LeaseFilter; page: { limit: number; before: string | undefined } },
): Promise<Page<LeaseView>> {
  const { db, clock } = deps;
  const now = clock.now();
  const isForeign = caller.kind === 'agent' && filter.agentId !== undefined && filter.agentId !== caller.id;
  if (isForeign) return { items: [], more: false };
  const visible = caller.kind === 'agent' ? { ...filter, agentId: caller.id } : filter;
  const rows = await store.listLeases(db, visible, { ...page, limit: page.limit + 1, now });
  const { items, more } = takePage(rows, page.limit);
  return { items: items.map((lease) => view(deps, lease, now)), more };
}

/** Begins to revoke a lease. A worker ends its access within seconds. Succeeds if that has begun before. */
async function revoke(
  { db, clock, audit }: LeasesDeps,
  act: Act,
  { id, reason }: { id: string; reason: string },
): Promise<void> {
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    const lease = await store.lockLease(tx, id, at);
    if (lease === undefined || !isVisible(act.caller, lease)) return refuse('not-found');
    if (!(await store.beginRevoking(tx, id, { at, by: act.caller.id, reason }))) return undefined;
    const about = { objectId: id, agentId: lease.agentId, grantId: lease.grantId };
    await audit.append(tx, { ...byAct(act), ...about, type: 'lease.revoking', details: { reason } });
    return undefined;
  });
}
