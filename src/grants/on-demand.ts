import type { Act, WorkloadAgent } from '../caller.ts';
import { sha256 } from '../crypto/hash.ts';
import { addSeconds } from '../platform/clock.ts';
import type { GrantsDeps } from './deps.ts';
import { effectiveStatus } from './grant.ts';
import { type GrantRequest, requestGrant } from './request.ts';
import * as store from './store.ts';

/** What a token request asks for that no grant covers. */
export type Demand = Pick<GrantRequest, 'resource' | 'scopes' | 'authorizationDetails'>;

export interface Demanded {
  grantId: string;
  /** `denied`: somebody has, a short while ago. */
  status: 'active' | 'pending' | 'denied';
}

/** How long a grant lasts that a token request asks for: it is asked for again when it has ended. */
const onDemandSeconds = 900;
/** Who is told no, asks the approvers again after so long. */
const deniedSeconds = 900;

/**
 * Asks for a grant as a token request does that none covers: once, however often it comes while nobody has decided. Refusals
 * as those of `requestGrant`.
 */
export async function demandGrant(
  deps: GrantsDeps,
  act: Act<WorkloadAgent>,
  demand: Demand,
): Promise<Demanded> {
  const { db, clock, resources } = deps;
  const resource = await resources.findByIdentifier(db, demand.resource);
  const of = { agentId: act.caller.id, resourceId: resource?.id ?? '' };
  const before = resource === undefined ? undefined : await store.findLatest(db, { ...of, ...demand });
  const now = clock.now();
  const status = before === undefined ? undefined : effectiveStatus(before, now);
  if (before !== undefined && status === 'pending') return { grantId: before.id, status };
  // Somebody was faster: it was made after the request had looked, unless an approver has narrowed it.
  const isWhole = demand.scopes.every((scope) => before?.scopes.includes(scope));
  if (before !== undefined && status === 'active' && isWhole) return { grantId: before.id, status };
  const isDenied = status === 'denied' && (before?.endedAt ?? now) > addSeconds(now, -deniedSeconds);
  if (before !== undefined && isDenied) return { grantId: before.id, status: 'denied' };
  const request = {
    ...demand,
    durationSeconds: Math.min(onDemandSeconds, resource?.maxGrantSeconds ?? onDemandSeconds),
    reason: 'asked for by a token request',
    ticket: null,
  };
  // Of several requests at the same time, each of which has seen the same before, one asks.
  const idempotencyKey = sha256(JSON.stringify([demand, before?.id, before?.version])).toString('base64url');
  const grantId = await requestGrant(deps, act, { request, idempotencyKey, route: 'issueToken' });
  const made = await store.findGrant(db, grantId);
  return { grantId, status: made?.status === 'pending' ? 'pending' : 'active' };
}
