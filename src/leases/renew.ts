import { byAct } from '../audit/audit-event.ts';
import type { Act, WorkloadAgent } from '../caller.ts';
import { withTransaction } from '../db/transaction.ts';
import { TargetFailure } from '../engines/target-failure.ts';
import { BrokerError, refuse } from '../errors.ts';
import * as grants from '../grants/grants.ts';
import { endOf } from '../grants/liveness.ts';
import type { LeasesDeps } from './deps.ts';
import { effectiveStatus, leaseExpiry } from './lease.ts';
import * as store from './store/leases.ts';
import { refuseUse } from './use.ts';

/**
 * Moves the end of an active lease of the caller, never past the end of its grant. The target changes first: if the
 * broker then stops, the account lasts longer in the target alone, and a worker still ends it at the recorded time.
 * Throws `not-found`, `lease-not-active`, `grant-not-active`, `policy-denied`, `target-unavailable`.
 */
export async function renewLease(
  deps: LeasesDeps,
  act: Act<WorkloadAgent>,
  { id, ttlSeconds }: { id: string; ttlSeconds: number | undefined },
): Promise<void> {
  const { db, clock, audit } = deps;
  await deps.policies.refresh();
  const lease = await store.findLease(db, id, clock.now());
  const grant = lease === undefined ? undefined : await grants.findGrant(db, lease.grantId);
  if (lease === undefined || grant === undefined || lease.agentId !== act.caller.id)
    throw new BrokerError('not-found');
  const now = clock.now();
  if (effectiveStatus(lease, now) !== 'active') throw new BrokerError('lease-not-active');
  await withTransaction(db, async (tx) => refuseUse(deps, tx, { act, grant, now }));
  const expiresAt = leaseExpiry({ now, ttlSeconds, grantExpiresAt: endOf(grant) });
  await renewAccount(deps, { ...lease, expiresAt });
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    const locked = await store.lockLease(tx, id, at);
    if (locked === undefined || effectiveStatus(locked, at) !== 'active') return refuse('lease-not-active');
    if (!(await store.extendLease(tx, { id, expiresAt }))) return refuse('lease-not-active');
    const about = { objectId: id, agentId: lease.agentId, grantId: lease.grantId };
    const details = { expires_at: expiresAt };
    await audit.append(tx, { ...byAct(act), ...about, type: 'lease.renewed', details });
    return undefined;
  });
}

async function renewAccount(
  deps: LeasesDeps,
  {
    id,
    connectionId,
    accountName,
    expiresAt,
  }: { id: string; connectionId: string; accountName: string; expiresAt: Date },
): Promise<void> {
  try {
    const connection = await deps.connections.find(deps.db, connectionId);
    if (connection === undefined) throw new BrokerError('lease-not-active');
    await deps.connections.open(connection, 'create').renew({ name: accountName, expiresAt });
  } catch (error) {
    if (!(error instanceof TargetFailure)) throw error;
    deps.onTargetFailure({ connectionId, leaseId: id, error });
    throw new BrokerError('target-unavailable', { cause: error, retryAfterSeconds: 5 });
  }
}
