import { byAct } from '../audit/audit-event.ts';
import type { Act, WorkloadAgent } from '../caller.ts';
import type { Tx } from '../db/database.ts';
import { type Refusal, refuse } from '../errors.ts';
import type { StoredGrant } from '../grants/grants.ts';
import { isActive } from '../grants/liveness.ts';
import { currentFacts } from '../policies/decision-facts.ts';
import type { LeasesDeps } from './deps.ts';

/**
 * Decides whether an agent may use its grant now, under the current policies and from where it calls. Returns
 * `grant-not-active`, `policy-denied` or `policy-error`, the latter two with an audit event; undefined if it may.
 */
export async function refuseUse(
  deps: Pick<LeasesDeps, 'policies' | 'audit'>,
  tx: Tx,
  { act, grant, now }: Use,
): Promise<Refusal | undefined> {
  const refusal = decide(deps, { act, grant, now });
  if (refusal === undefined || refusal.error.code === 'grant-not-active') return refusal;
  const about = { agentId: grant.agentId, grantId: grant.id, objectId: grant.resourceId };
  const details = { code: refusal.error.code, scopes: grant.scopes };
  await deps.audit.append(tx, { ...byAct(act), ...about, type: 'lease.refused', outcome: 'denied', details });
  return refuse(refusal.error.code, { recorded: true });
}

interface Use {
  act: Act<WorkloadAgent>;
  grant: StoredGrant;
  now: Date;
}

function decide({ policies }: Pick<LeasesDeps, 'policies'>, { act, grant, now }: Use): Refusal | undefined {
  if (!isActive(grant, now) || grant.approvals === null) return refuse('grant-not-active');
  const { scopes, durationSeconds, catalogue, approvals } = grant;
  const circumstances = { now, address: act.origin.address, authMethod: act.caller.authMethod };
  const facts = currentFacts(grant.facts, { scopes, durationSeconds, catalogue, approvals, circumstances });
  const { decision } = policies.engine.decide(facts);
  return decision === 'permit' ? undefined : refuse(decision === 'error' ? 'policy-error' : 'policy-denied');
}
