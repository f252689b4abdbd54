import { assertDetailsSize } from '../authorization-details/size.ts';
import type { Act, WorkloadAgent } from '../caller.ts';
import { sha256 } from '../crypto/hash.ts';
import { BrokerError } from '../errors.ts';
import * as store from '../grants/grants.ts';
import { effectiveStatus } from '../grants/liveness.ts';
import { addSeconds } from '../platform/clock.ts';
import { yieldsLeases } from '../resources/resource.ts';
import type { RequestsDeps } from './deps.ts';
import { type GrantRequest, requestGrant } from './request.ts';

/** The terms of a token request that no grant covers. */
export interface Demand extends Pick<GrantRequest, 'resource' | 'scopes' | 'authorizationDetails'> {
  /** A token can only be issued under a grant that lasts until this instant. */
  usableUntil: Date;
}

export interface Demanded {
  grantId: string;
  /** `denied` and `narrowed`: an approver did so within the last 15 minutes. */
  status: 'active' | 'pending' | 'denied' | 'narrowed';
}

const hasLeases =
  'grants for this resource are not made on demand: request one at /v1/grants, and a lease under it at /v1/leases';
/** The duration of a grant that is requested on demand. */
const onDemandSeconds = 900;
/** How long a denial or a narrowing is final. After that, the same token request asks the approvers again. */
const decidedSeconds = 900;

/**
 * Requests the grant that a token request lacks. Repeated token requests
 * share it while it is pending. Throws the errors of `requestGrant`.
 */
export async function demandGrant(
  deps: RequestsDeps,
  act: Act<WorkloadAgent>,
  { usableUntil, ...demand }: Demand,
): Promise<Demanded> {
  assertDetailsSize(demand.authorizationDetails);
  const { db, resources } = deps;
  const resource = await resources.findByIdentifier(db, demand.resource);
  if (resource !== undefined && yieldsLeases(resource.kind))
    throw new BrokerError('invalid-target', { detail: hasLeases });
  const scopes = [...demand.scopes].sort();
  const terms = { ...demand, scopes, resource: resource?.identifier ?? demand.resource };
  const of = { agentId: act.caller.id, resourceId: resource?.id ?? '' };
  const before = resource === undefined ? undefined : await store.findLatest(db, { ...of, ...terms });
  const known = before && outcomeOf(before, { scopes, usableUntil, now: deps.clock.now() });
  if (before !== undefined && known !== undefined) return { grantId: before.id, status: known };
  const request = {
    ...terms,
    durationSeconds: Math.min(onDemandSeconds, resource?.maxGrantSeconds ?? onDemandSeconds),
    reason: 'requested by a token request',
    ticket: null,
  };
  // Of concurrent token requests that found the same previous grant, only one makes a grant.
  const idempotencyKey = sha256(JSON.stringify([terms, before?.id, before?.version])).toString('base64url');
  const grantId = await requestGrant(deps, act, { request, idempotencyKey, route: 'issueToken' });
  const made = await store.findGrant(db, grantId);
  return { grantId, status: made?.status === 'pending' ? 'pending' : 'active' };
}

/** Returns the outcome of the previous request if it is still valid; otherwise undefined. */
function outcomeOf(
  before: store.StoredGrant,
  { scopes, usableUntil, now }: { scopes: readonly string[]; usableUntil: Date; now: Date },
): Demanded['status'] | undefined {
  const status = effectiveStatus(before, now);
  if (status === 'pending') return status;
  const isRecent = (at: Date | null): boolean => at !== null && at > addSeconds(now, -decidedSeconds);
  const isWhole = scopes.every((scope) => before.scopes.includes(scope));
  const lasts = before.expiresAt !== null && before.expiresAt >= usableUntil;
  // A concurrent request has made the grant.
  if (status === 'active' && isWhole && lasts) return status;
  if (status === 'active' && !isWhole && isRecent(before.decidedAt)) return 'narrowed';
  const isDenied = before.status === 'denied' && before.endedByPerson;
  return isDenied && isRecent(before.endedAt) ? 'denied' : undefined;
}
