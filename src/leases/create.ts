import { byAct, systemActor } from '../audit/audit-event.ts';
import type { Act, WorkloadAgent } from '../caller.ts';
import type { Tx } from '../db/database.ts';
import { withRetries, withTransaction } from '../db/transaction.ts';
import { nextAccountName } from '../engines/account-name.ts';
import { TargetFailure } from '../engines/target-failure.ts';
import { BrokerError, Refusal, refuse } from '../errors.ts';
import * as grants from '../grants/grants.ts';
import { endOf } from '../grants/liveness.ts';
import { claimCall, type IdempotentCall } from '../idempotency/idempotent-call.ts';
import { generateSecret } from '../platform/random.ts';
import type { StoredConnection } from '../resources/connections/service.ts';
import { mappingsOf, type Resource, yieldsLeases } from '../resources/resource.ts';
import type { LeasesDeps } from './deps.ts';
import {
  createDeadline,
  type Lease,
  type LeaseCredential,
  leaseExpiry,
  maxLeases,
  type NewLease,
  newlyActive,
} from './lease.ts';
import * as store from './store/leases.ts';
import { refuseUse } from './use.ts';

export interface LeaseRequest {
  grantId: string;
  /** Undefined if the lease shall last as long as its grant. */
  ttlSeconds: number | undefined;
  call: IdempotentCall | undefined;
  /** The lease of an earlier call with the same idempotency key, if its account was never made. */
  replaces: string | undefined;
}

/** A recorded lease whose account is not made yet. */
interface Intent {
  lease: NewLease;
  connection: StoredConnection;
  resource: Resource;
  scopes: string[];
}

/**
 * Makes an account in the target of a grant's resource. Returns the lease and, this once, the credential;
 * undefined if another call with the same idempotency key has claimed it meanwhile. Throws `not-found`,
 * `grant-not-active`, `policy-denied`, `invalid-request` (the resource has no target), `target-not-ready`,
 * `too-many-leases` and `target-unavailable` (the account could not be made; if a part of it was, a worker removes it).
 */
export async function createLease(
  deps: LeasesDeps,
  act: Act<WorkloadAgent>,
  request: LeaseRequest,
): Promise<{ lease: Lease; credential: LeaseCredential } | undefined> {
  const { db, random } = deps;
  await deps.policies.refresh();
  const accountName = nextAccountName(await deps.connections.installationId(), random);
  const intent = await withTransaction(db, (tx) => recordIntent(deps, tx, { act, request, accountName }));
  if (intent === undefined) return undefined;
  const { lease, connection } = intent;
  const password = generateSecret(random, 'hpl');
  const activatedAt = await makeAccount(deps, act, { intent, password });
  const { kind, endpoint, database } = connection;
  const credential = { username: accountName, password, ...endpoint, database };
  return { lease: newlyActive({ ...lease, kind, activatedAt }), credential };
}

interface Recording {
  act: Act<WorkloadAgent>;
  request: LeaseRequest;
  accountName: string;
}

/** Records the lease before the target is touched, so that its account can be found after a crash. */
async function recordIntent(
  deps: LeasesDeps,
  tx: Tx,
  { act, request, accountName }: Recording,
): Promise<Intent | undefined | Refusal> {
  const { clock, ids, audit } = deps;
  const grant = await grants.lockGrant(tx, request.grantId, act.caller.id);
  if (grant === undefined) return refuse('not-found');
  const target = await findTarget(deps, tx, grant.resourceId);
  const now = clock.now();
  const refusal = await refuseUse(deps, tx, { act, grant, now });
  if (refusal !== undefined) return refusal;
  if (target instanceof Refusal) return target;
  const open = await store.countOpenLeases(tx, grant);
  for (const [of, most] of Object.entries(maxLeases) as [keyof typeof maxLeases, number][]) {
    if (open[of] >= most) return refuse('too-many-leases', { detail: tooMany[of], retryAfterSeconds: 60 });
  }
  const id = ids.next('lease');
  const { call, replaces } = request;
  if (call !== undefined && !(await claimCall(tx, call, { objectId: id, now, replaces }))) return undefined;
  const lease = {
    id,
    grantId: grant.id,
    agentId: grant.agentId,
    resourceId: grant.resourceId,
    connectionId: target.connection.id,
    accountName,
    createdAt: now,
    createDeadlineAt: createDeadline(now),
    expiresAt: leaseExpiry({ now, ttlSeconds: request.ttlSeconds, grantExpiresAt: endOf(grant) }),
  };
  const details = { account_name: accountName, expires_at: lease.expiresAt, scopes: grant.scopes };
  const event = { ...byAct(act), ...about(lease), type: 'lease.requested' as const, details };
  await audit.appendWith(tx, store.insertion(lease), event);
  return { lease, ...target, scopes: grant.scopes };
}

const tooMany: Record<keyof typeof maxLeases, string> = {
  ofAgent: `the agent has ${maxLeases.ofAgent} leases for this resource: revoke those that are not needed`,
  ofResource: `the resource has ${maxLeases.ofResource} leases`,
  total: `the broker has ${maxLeases.total} leases`,
};

async function findTarget(
  { resources, connections, creationOutages }: LeasesDeps,
  tx: Tx,
  resourceId: string,
): Promise<{ resource: Resource; connection: StoredConnection } | Refusal> {
  const resource = await resources.lockShared(tx, resourceId);
  if (resource === undefined) return refuse('grant-not-active');
  if (!yieldsLeases(resource.kind)) {
    return refuse('invalid-request', {
      detail: `a resource of kind ${resource.kind} has tokens, not leases`,
    });
  }
  const { connection: current, preflight } = resource;
  if (current === null) return refuse('target-not-ready', { detail: 'the resource has no connection yet' });
  if (preflight !== null && preflight.problems.length > 0) {
    return refuse('target-not-ready', {
      detail: 'an admin must repair the target first',
      retryAfterSeconds: 300,
    });
  }
  // Before anything is recorded: leases that cannot be made must not fill the limits.
  if (creationOutages.isPaused(current.id))
    return refuse('target-unavailable', {
      detail: 'it could not be reached a moment ago',
      retryAfterSeconds: 5,
    });
  const connection = await connections.find(tx, current.id);
  return connection === undefined ? refuse('target-not-ready') : { resource, connection };
}

/**
 * Makes the account and the lease active; otherwise a worker destroys what may have been made. Returns when the lease
 * became active.
 */
async function makeAccount(
  deps: LeasesDeps,
  act: Act<WorkloadAgent>,
  { intent, password }: { intent: Intent; password: string },
): Promise<Date> {
  const { lease, connection, resource, scopes } = intent;
  const { accountName: name, expiresAt, createDeadlineAt: deadline } = lease;
  const mappings = mappingsOf(resource.scopes, scopes);
  try {
    const target = deps.connections.open(connection, 'create');
    await target.create({ name, password, mappings, expiresAt, deadline });
    deps.creationOutages.notice(connection.id, false);
  } catch (error) {
    deps.creationOutages.notice(connection.id, error instanceof TargetFailure && error.isUnreachable);
    deps.onTargetFailure({ connectionId: connection.id, leaseId: lease.id, error });
    const reason = 'its account could not be made';
    await revokeUnmade(deps, lease, reason);
    if (!(error instanceof TargetFailure)) throw error;
    throw new BrokerError('target-unavailable', { detail: reason, cause: error, retryAfterSeconds: 5 });
  }
  const activatedAt = await activate(deps, act, lease);
  if (activatedAt !== undefined) return activatedAt;
  await revokeUnmade(deps, lease, 'it had ended before its account was made');
  throw new BrokerError('grant-not-active');
}

/** Makes a lease active, with its event, in one statement. Returns undefined if it has ended meanwhile. */
async function activate(
  { db, clock, audit }: LeasesDeps,
  act: Act<WorkloadAgent>,
  lease: NewLease,
): Promise<Date | undefined> {
  const event = { ...byAct(act), ...about(lease), type: 'lease.activated' as const };
  return withRetries(db, async () => {
    const at = clock.now();
    const isActive = await audit.appendWith(db, store.activation({ id: lease.id, at }), event);
    return isActive ? at : undefined;
  });
}

const about = ({ agentId, grantId, id }: NewLease) => ({ agentId, grantId, objectId: id });

/** Begins to revoke a lease that did not become active: a worker destroys what may have been made of its account. */
async function revokeUnmade(deps: LeasesDeps, lease: NewLease, reason: string): Promise<void> {
  const actor = systemActor('create-lease');
  await withTransaction(deps.db, async (tx) => {
    if (!(await store.beginRevoking(tx, lease.id, { at: deps.clock.now(), by: actor.id, reason }))) return;
    await deps.audit.append(tx, { ...about(lease), actor, type: 'lease.revoking', details: { reason } });
  });
}
