import { byAct } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import type { Db, Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { type Refusal, refuse } from '../errors.ts';
import { type Approval, type ApprovalFacts, grantPeriod, type Narrowing, narrow } from '../grants/grant.ts';
import * as store from '../grants/grants.ts';
import { effectiveStatus } from '../grants/liveness.ts';
import { currentFacts } from '../policies/decision-facts.ts';
import { decideGrant, insertApproval, listApprovals } from './approvals/store.ts';
import type { RequestsDeps } from './deps.ts';
import { requestDigest } from './request-digest.ts';

export interface ApprovalRequest extends Narrowing {
  /** The digest of the terms that the approver has seen. */
  requestDigest: string | undefined;
  note?: string | undefined;
}

type Terms = Pick<store.StoredGrant, 'scopes' | 'durationSeconds'>;

/**
 * Approves a pending grant, optionally narrowed. Throws `digest-required`, `not-found`, `grant-not-pending`,
 * `self-approval`, `forbidden` (the role was removed meanwhile), `stale-digest`, `already-approved`,
 * `invalid-request` (wider than the request).
 */
export async function approveGrant(
  deps: RequestsDeps,
  act: Act<Person>,
  { id, request }: { id: string; request: ApprovalRequest },
): Promise<void> {
  await deps.policies.refresh();
  await withTransaction(deps.db, async (tx) => {
    const grant = await lockPending(deps, tx, id);
    if ('error' in grant) return grant;
    const controllers = await controllersOf(deps, tx, grant);
    const approvers = await deps.admins.listApprovers(tx);
    if (controllers.has(act.caller.id)) return refuse('self-approval');
    if (!approvers.some((approver) => approver.id === act.caller.id)) return refuse('forbidden');
    const terms = readTerms(grant, request);
    if ('error' in terms) return terms;
    const approval: Approval = {
      by: act.caller.id,
      keyId: act.caller.keyId,
      keyIssuedBy: act.caller.keyIssuedBy,
      requestDigest: requestDigest({ ...grant, ...terms }, grant.catalogue),
      note: request.note ?? null,
      at: deps.clock.now(),
    };
    const counted = await insertApproval(tx, {
      ...approval,
      id: deps.ids.next('approval'),
      grantId: id,
    });
    if (!counted) return refuse('already-approved');
    const may = new Map(
      approvers.filter((one) => !controllers.has(one.id)).map((one) => [one.id, one.groups]),
    );
    return decideAgain(deps, tx, { act, grant, terms, approval, may });
  });
  deps.watch.changed(id);
}

/** Finds a pending grant, and locks its row, its agent and its resource. */
async function lockPending(
  deps: RequestsDeps,
  tx: Tx,
  id: string,
): Promise<(store.StoredGrant & { maxGrantSeconds: number }) | Refusal> {
  const known = await store.findGrant(tx, id);
  if (known === undefined) return refuse('not-found');
  // Locks the resource before the grant, as a change of its catalogue does, so that the two cannot deadlock.
  const resource = await deps.resources.lockShared(tx, known.resourceId);
  const grant = await store.lockGrant(tx, id);
  const now = deps.clock.now();
  if (grant === undefined || effectiveStatus(grant, now) !== 'pending') return refuse('grant-not-pending');
  return { ...grant, maxGrantSeconds: resource?.maxGrantSeconds ?? 0 };
}

/** Finds the people who could act as the agent when it made the request, or can now. */
export async function controllersOf(
  deps: Pick<RequestsDeps, 'agents'>,
  db: Db,
  grant: store.StoredGrant,
): Promise<Set<string>> {
  const known = await deps.agents.controllersOf(db, grant.agentId, grant.requestedAt);
  return new Set([...known, grant.ownerAtRequest]);
}

/** Returns the approved terms if the approver has seen the current ones and the resource allows the duration. */
function readTerms(
  grant: store.StoredGrant & { maxGrantSeconds: number },
  request: ApprovalRequest,
): Terms | Refusal {
  if (request.requestDigest === undefined) return refuse('digest-required');
  if (request.requestDigest !== requestDigest(grant, grant.catalogue)) return refuse('stale-digest');
  const terms = narrow(grant, request);
  if (terms === undefined) {
    return refuse('invalid-request', { detail: 'an approval can only narrow scopes and duration_seconds' });
  }
  if (terms.durationSeconds <= grant.maxGrantSeconds) return terms;
  const detail = `the resource grants at most ${grant.maxGrantSeconds} seconds now: narrow duration_seconds`;
  return refuse('invalid-request', { detail });
}

interface CountedApproval {
  act: Act<Person>;
  grant: store.StoredGrant;
  terms: Terms;
  approval: Approval;
  /** The people whose approval counts now: the groups of each, by the person's id. */
  may: ReadonlyMap<string, string[]>;
}

/** Asks policy again with the approvals so far, and activates the grant if policy permits it. */
async function decideAgain(
  deps: RequestsDeps,
  tx: Tx,
  counted: CountedApproval,
): Promise<undefined | Refusal> {
  const { act, grant, terms, approval, may } = counted;
  await deps.policies.refresh(tx);
  const given = (await listApprovals(tx, [grant.id])).get(grant.id) ?? [];
  const approvals = countApprovals(given, may);
  const facts = currentFacts(grant.facts, { ...terms, catalogue: grant.catalogue, approvals });
  const decision = deps.policies.engine.decide(facts);
  const { at, requestDigest: digest } = approval;
  const period = grantPeriod({ decidedAt: at, ...terms, agentExpiresAt: grant.agentExpiresAt });
  const permitted = decision.decision === 'permit';
  const decided = { id: grant.id, ...terms, requestDigest: digest, at };
  const activation = { ...approvals, policies: decision.policies, ...period };
  const changed = await decideGrant(tx, permitted ? { ...decided, activation } : decided);
  if (!changed) return refuse('grant-not-pending');
  const event = { ...byAct(act), agentId: grant.agentId, grantId: grant.id };
  await deps.audit.append(tx, {
    ...event,
    type: 'grant.approved',
    details: { request_digest: digest, scopes: terms.scopes, duration_seconds: terms.durationSeconds },
  });
  if (permitted) {
    const details = {
      approvals: approvals.approvals,
      policies: decision.policies,
      expires_at: period.expiresAt,
    };
    await deps.audit.append(tx, { ...event, type: 'grant.activated', details });
  }
  return undefined;
}

/** Counts the approvals by people in `may`, and collects the groups of these people. */
export function countApprovals(given: Approval[], may: ReadonlyMap<string, string[]>): ApprovalFacts {
  const counted = given.flatMap((one) => may.get(one.by) ?? []);
  const approvals = given.filter((one) => may.has(one.by)).length;
  return { approvals, approver_groups: [...new Set(counted)].sort() };
}
