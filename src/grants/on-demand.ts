import type { Act, WorkloadAgent } from '../caller.ts';
import { sha256 } from '../crypto/hash.ts';
import { addSeconds } from '../platform/clock.ts';
import type { GrantsDeps } from './deps.ts';
import { effectiveStatus } from './grant.ts';
import { type GrantRequest, requestGrant } from './request.ts';
import * as store from './store.ts';

/** What a token request asks for that no grant covers. */
export interface Demand extends Pick<GrantRequest, 'resource' | 'scopes' | 'authorizationDetails'> {
  /** A grant that ends before this instant is of no use for a token. */
  usableUntil: Date;
}

export interface Demanded {
  grantId: string;
  /** `denied`, `narrowed`: somebody has, a short while ago. */
  status: 'active' | 'pending' | 'denied' | 'narrowed';
}

/** How long a grant lasts that a token request asks for: it is asked for again when it has ended. */
const onDemandSeconds = 900;
/** Who is told no, or that it may have less, asks the approvers again after so long. */
const decidedSeconds = 900;

/**
 * Asks for a grant as a token request does that none covers: once, however often it comes while nobody has decided. Refusals
 * as those of `requestGrant`.
 */
export async function demandGrant(
  deps: GrantsDeps,
  act: Act<WorkloadAgent>,
  { usableUntil, ...demand }: Demand,
): Promise<Demanded> {
  const { db, resources } = deps;
  const resource = await resources.findByIdentifier(db, demand.resource);
  const scopes = [...demand.scopes].sort();
  const terms = { ...demand, scopes, resource: resource?.identifier ?? demand.resource };
  const of = { agentId: act.caller.id, resourceId: resource?.id ?? '' };
  const before = resource === undefined ? undefined : await store.findLatest(db, { ...of, ...terms });
  const known = before && outcomeOf(before, { scopes, usableUntil, now: deps.clock.now() });
  if (before !== undefined && known !== undefined) return { grantId: before.id, status: known };
  const request = {
    ...terms,
    durationSeconds: Math.min(onDemandSeconds, resource?.maxGrantSeconds ?? onDemandSeconds),
    reason: 'asked for by a token request',
    ticket: null,
  };
  // Of several requests at the same time, each of which has seen the same before, one asks.
  const idempotencyKey = sha256(JSON.stringify([terms, before?.id, before?.version])).toString('base64url');
  const grantId = await requestGrant(deps, act, { request, idempotencyKey, route: 'issueToken' });
  const made = await store.findGrant(db, grantId);
  return { grantId, status: made?.status === 'pending' ? 'pending' : 'active' };
}

/** What became of asking before; undefined: nothing that still holds. */
function outcomeOf(
  before: store.StoredGrant,
  { scopes, usableUntil, now }: { scopes: readonly string[]; usableUntil: Date; now: Date },
): Demanded['status'] | undefined {
  const status = effectiveStatus(before, now);
  if (status === 'pending') return status;
  const isRecent = (at: Date | null): boolean => at !== null && at > addSeconds(now, -decidedSeconds);
  const isWhole = scopes.every((scope) => before.scopes.includes(scope));
  const lasts = before.expiresAt !== null && before.expiresAt >= usableUntil;
  // Somebody was faster: it was made after the request had looked, unless an approver has narrowed it.
  if (status === 'active' && isWhole && lasts) return status;
  if (status === 'active' && !isWhole && isRecent(before.decidedAt)) return 'narrowed';
  // By a person: what an epoch ended nobody has looked at.
  const isDenied = before.status === 'denied' && before.endedBy?.startsWith('adm_') === true;
  return isDenied && isRecent(before.endedAt) ? 'denied' : undefined;
}
