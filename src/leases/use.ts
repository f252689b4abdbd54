import type { Act, WorkloadAgent } from '../caller.ts';
import { type Refusal, refuse } from '../errors.ts';
import type { StoredGrant } from '../grants/grants.ts';
import { isActive } from '../grants/liveness.ts';
import { currentFacts } from '../policies/decision-facts.ts';
import type { LeasesDeps } from './deps.ts';

/**
 * Decides whether an agent may use its grant now, under the current policies and from where it calls. Returns
 * `grant-not-active` or `policy-denied`; undefined if it may.
 */
export function refuseUse(
  { policies }: Pick<LeasesDeps, 'policies'>,
  { act, grant, now }: { act: Act<WorkloadAgent>; grant: StoredGrant; now: Date },
): Refusal | undefined {
  if (!isActive(grant, now) || grant.approvals === null) return refuse('grant-not-active');
  const { scopes, durationSeconds, catalogue, approvals } = grant;
  const circumstances = { now, address: act.origin.address, authMethod: act.caller.authMethod };
  const facts = currentFacts(grant.facts, { scopes, durationSeconds, catalogue, approvals, circumstances });
  const { decision } = policies.engine.decide(facts);
  return decision === 'permit' ? undefined : refuse(decision === 'error' ? 'policy-error' : 'policy-denied');
}
