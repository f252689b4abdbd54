import { byAct } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import type { Db, Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { type Refusal, refuse } from '../errors.ts';
import { decideGrant, insertApproval, listApprovals } from './approvals/store.ts';
import { currentFacts } from './decision-facts.ts';
import type { GrantsDeps } from './deps.ts';
import {
  type Approval,
  type ApprovalFacts,
  effectiveStatus,
  grantPeriod,
  type Narrowing,
  narrow,
} from './grant.ts';
import { requestDigest } from './request-digest.ts';
import * as store from './store.ts';

export interface ApprovalRequest extends Narrowing {
  /** The terms that are approved. */
  requestDigest: string | undefined;
  note?: string | undefined;
}

type Terms = Pick<store.StoredGrant, 'scopes' | 'durationSeconds'>;

/**
 * Approves a pending grant, perhaps narrowed. Refusals: `digest-required`, `not-found`, `grant-not-pending`,
 * `self-approval`, `forbidden` (the role was taken away meanwhile), `stale-digest`, `already-approved`,
 * `invalid-request` (wider than what is asked for).
 */
export async function approveGrant(
  deps: GrantsDeps,
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
    return settle(deps, tx, { act, grant, terms, approval, may });
  });
  deps.watch.changed(id);
}

/** The grant, its row and its resource locked, if it still waits for a decision. */
async function lockPending(
  deps: GrantsDeps,
  tx: Tx,
  id: string,
): Promise<(store.StoredGrant & { maxGrantSeconds: number }) | Refusal> {
  const known = await store.findGrant(tx, id);
  if (known === undefined) return refuse('not-found');
  // The resource first, as whoever changes a catalogue does: then the two cannot wait for each other.
  const resource = await deps.resources.lockShared(tx, known.resourceId);
  const grant = await store.lockGrant(tx, id);
  const now = deps.clock.now();
  if (grant === undefined || effectiveStatus(grant, now) !== 'pending') return refuse('grant-not-pending');
  return { ...grant, maxGrantSeconds: resource?.maxGrantSeconds ?? 0 };
}

/** Who could have acted as the agent when it asked, or can now. */
export async function controllersOf(
  deps: Pick<GrantsDeps, 'agents'>,
  db: Db,
  grant: store.StoredGrant,
): Promise<Set<string>> {
  const known = await deps.agents.controllersOf(db, grant.agentId, grant.requestedAt);
  return new Set([...known, grant.ownerAtRequest]);
}

/** The terms that are approved, if the approver has seen those of now, and the resource still grants so much time. */
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

interface Settlement {
  act: Act<Person>;
  grant: store.StoredGrant;
  terms: Terms;
  approval: Approval;
  /** The groups of everyone whose approval counts now. */
  may: ReadonlyMap<string, string[]>;
}

/** Asks policy again with the approvals there are, and activates the grant if it is satisfied. */
async function settle(deps: GrantsDeps, tx: Tx, settlement: Settlement): Promise<undefined | Refusal> {
  const { act, grant, terms, approval, may } = settlement;
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

/** How many of the approvals count, and the groups of those who gave them. */
export function countApprovals(given: Approval[], may: ReadonlyMap<string, string[]>): ApprovalFacts {
  const counted = given.flatMap((one) => may.get(one.by) ?? []);
  const approvals = given.filter((one) => may.has(one.by)).length;
  return { approvals, approver_groups: [...new Set(counted)].sort() };
}
