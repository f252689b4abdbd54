import type { Decision, DecisionRequest, PolicyRef } from '../grants/facts.ts';
import { factStrings, type PolicyEngine } from './engine.ts';

/** The most approvals that a policy can require. */
export const maxApprovals = 5;

/** The most groups that are tried one by one. The union always contains all groups. */
export const maxProbedGroups = 16;

export interface EligibleApprovers {
  /** The groups of each person who may approve the request: one entry per person, possibly empty. */
  groups: readonly (readonly string[])[];
}

export interface DeniedResult {
  outcome: 'denied';
  code: 'policy-denied' | 'policy-error' | 'no-eligible-approver';
  policies: PolicyRef[];
  /** The errors for the log; empty unless `code` is `policy-error`. */
  errors: string[];
}

export type ProbeResult =
  | { outcome: 'permit'; policies: PolicyRef[] }
  | { outcome: 'pending'; approvalsRequired: number; policies: PolicyRef[] }
  | DeniedResult;

/** Returns the request as if `approvals` people with these groups had approved it. */
export function withApprovals(
  request: DecisionRequest,
  approvals: number,
  groups: readonly string[],
): DecisionRequest {
  return { ...request, context: { ...request.context, approvals, approver_groups: groups } };
}

/** Returns the distinct groups of all eligible approvers, sorted. */
export function unionOfGroups(eligible: EligibleApprovers): string[] {
  return [...new Set(eligible.groups.flat())].sort();
}

/**
 * Returns the values to try as `approver_groups`: the empty set, each group, and all groups. Cedar can only compare a
 * group with a string in a policy or a fact, so the groups that appear in neither are equivalent, and only one of
 * them is tried.
 */
function groupSets(engine: PolicyEngine, request: DecisionRequest, union: readonly string[]): string[][] {
  const facts = new Set(factStrings(request));
  const mentioned = union.filter((group) => engine.literals.has(group) || facts.has(group));
  const equivalent = union.filter((group) => !mentioned.includes(group)).slice(0, 1);
  const single = [...mentioned.slice(0, maxProbedGroups), ...equivalent].map((group) => [group]);
  return union.length > 1 ? [[], ...single, [...union]] : [[], ...single];
}

const policyError = ({ policies, errors }: Decision): ProbeResult => ({
  outcome: 'denied',
  code: 'policy-error',
  policies,
  errors,
});

/**
 * Decides a new request. Permits it if policy permits it without approvals. Otherwise it is pending with the smallest
 * N of 1 to 5 approvals with which policy permits it, where `approver_groups` is the empty set, each group of an
 * eligible approver, or their union. Otherwise it is denied. An error in any evaluation denies the request. The code
 * is `no-eligible-approver` only if some N would suffice. At most 1 + 5 * (16 + 3) evaluations.
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
