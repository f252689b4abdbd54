import { factStrings, type PolicyEngine } from './engine.ts';
import type { Decision, DecisionRequest, PolicyRef } from './facts.ts';

/** The most approvals a policy can ask for. */
export const maxApprovals = 5;

/** The most distinct groups that are tried one by one; the union always holds them all. */
export const maxProbedGroups = 16;

export interface EligibleApprovers {
  /** The groups of each person who may approve this request; one entry a person, even without groups. */
  groups: readonly (readonly string[])[];
}

export interface DeniedResult {
  outcome: 'denied';
  code: 'policy-denied' | 'policy-error' | 'no-eligible-approver';
  policies: PolicyRef[];
  /** For the log; empty unless `code` is `policy-error`. */
  errors: string[];
}

export type ProbeResult =
  | { outcome: 'permit'; policies: PolicyRef[] }
  | { outcome: 'pending'; approvalsRequired: number; policies: PolicyRef[] }
  | DeniedResult;

/** The same request as if `approvals` people of these groups had approved it. */
export function withApprovals(
  request: DecisionRequest,
  approvals: number,
  groups: readonly string[],
): DecisionRequest {
  return { ...request, context: { ...request.context, approvals, approver_groups: groups } };
}

/** Every group of everyone eligible, once, sorted. */
export function unionOfGroups(eligible: EligibleApprovers): string[] {
  return [...new Set(eligible.groups.flat())].sort();
}

/**
 * What to try as `approver_groups`: nothing, each group, all of them. Cedar can only compare a group with a
 * string that a policy or a fact holds, so groups that neither names are alike and one stands for all.
 */
function groupSets(engine: PolicyEngine, request: DecisionRequest, union: readonly string[]): string[][] {
  const facts = new Set(factStrings(request));
  const told = union.filter((group) => engine.literals.has(group) || facts.has(group));
  const alike = union.filter((group) => !told.includes(group)).slice(0, 1);
  const single = [...told.slice(0, maxProbedGroups), ...alike].map((group) => [group]);
  return union.length > 1 ? [[], ...single, [...union]] : [[], ...single];
}

const policyError = ({ policies, errors }: Decision): ProbeResult => ({
  outcome: 'denied',
  code: 'policy-error',
  policies,
  errors,
});

/**
 * What becomes of a new request: permitted if policy allows it with no approvals; pending with N if N is the
 * smallest of 1..5 with which it would, trying as `approver_groups` the empty set, each group of an eligible
 * approver, and their union; denied otherwise. An evaluation that errs on the way denies. `no-eligible-approver`
 * only where some N would do. At most 1 + 5 * (16 + 3) evaluations.
 */
export function probe(
  engine: PolicyEngine,
  request: DecisionRequest,
  eligible: EligibleApprovers,
): ProbeResult {
  const atOnce = engine.decide(withApprovals(request, 0, []));
  if (atOnce.decision === 'error') return policyError(atOnce);
  if (atOnce.decision === 'permit') return { outcome: 'permit', policies: atOnce.policies };
  const sets = groupSets(engine, request, unionOfGroups(eligible));
  for (let approvals = 1; approvals <= maxApprovals; approvals += 1) {
    for (const groups of sets) {
      const { decision, policies, errors } = engine.decide(withApprovals(request, approvals, groups));
      if (decision === 'error') return policyError({ decision, policies, errors });
      if (decision === 'deny') continue;
      return eligible.groups.length > 0
        ? { outcome: 'pending', approvalsRequired: approvals, policies }
        : { outcome: 'denied', code: 'no-eligible-approver', policies, errors: [] };
    }
  }
  return { outcome: 'denied', code: 'policy-denied', policies: atOnce.policies, errors: [] };
}
