import { systemActor } from '../audit/audit-event.ts';
import { withTransaction } from '../db/transaction.ts';
import * as grants from '../grants/grants.ts';
import { addSeconds } from '../platform/clock.ts';
import { currentFacts } from '../policies/decision-facts.ts';
import type { LeasesDeps } from './deps.ts';
import { beginRevoking, listUsableOf, listUsedGrants } from './store/leases.ts';

/** Longer than the decision about a lease and its record take. */
const againSeconds = 30;
const actor = systemActor('check-policies');
const reason = 'policy no longer permits its grant';

/**
 * Creates the check of leases after a change of policies. It decides about each grant with leases again, with the facts
 * of its request: the hour and the address of this moment end nothing. Returns the number of leases that it revoked.
 */
export function createPolicyCheck(deps: LeasesDeps): () => Promise<number> {
  let last: { epoch: bigint; againAt: Date | undefined } | undefined;
  return async () => {
    const epoch = await deps.policies.refresh();
    const now = deps.clock.now();
    const isNew = epoch !== last?.epoch;
    const isDue = last?.againAt !== undefined && last.againAt <= now;
    if (!isNew && !isDue) return 0;
    let revoked = 0;
    for (const grantId of await listUsedGrants(deps.db)) {
      if (!(await isPermitted(deps, grantId))) revoked += await revokeUnder(deps, grantId);
    }
    // After a failure, the next call checks all again. After a success, all are checked again later: a lease may have been
    // permitted under the previous policies and recorded after this check.
    last = { epoch, againAt: isNew ? addSeconds(now, againSeconds) : undefined };
    return revoked;
  };
}

async function isPermitted({ db, policies }: LeasesDeps, grantId: string): Promise<boolean> {
  const grant = await grants.findGrant(db, grantId);
  if (grant === undefined || grant.approvals === null) return false;
  const { scopes, durationSeconds, catalogue, approvals } = grant;
  const facts = currentFacts(grant.facts, { scopes, durationSeconds, catalogue, approvals });
  return policies.engine.decide(facts).decision === 'permit';
}

async function revokeUnder({ db, clock, audit }: LeasesDeps, grantId: string): Promise<number> {
  let revoked = 0;
  for (const { id, agentId } of await listUsableOf(db, grantId)) {
    await withTransaction(db, async (tx) => {
      if (!(await beginRevoking(tx, id, { at: clock.now(), by: actor.id, reason }))) return;
      const about = { actor, objectId: id, agentId, grantId };
      await audit.append(tx, { ...about, type: 'lease.revoking', details: { reason } });
      revoked += 1;
    });
  }
  return revoked;
}
