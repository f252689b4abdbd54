import type { Approver } from '../admins/admin.ts';
import type { Agent } from '../agents/agent.ts';
import type { Detail, DetailsRules } from '../authorization-details/details-type.ts';
import type { Db } from '../db/database.ts';
import type { DecisionRequest } from '../grants/facts.ts';
import { type DeniedResult, type EligibleApprovers, type ProbeResult, probe } from '../policies/decision.ts';
import { type Circumstances, requestFacts, risksOf } from '../policies/decision-facts.ts';
import type { PolicyEngine } from '../policies/engine.ts';
import { type Hint, hints } from '../policies/hints.ts';
import type { Resource } from '../resources/resource.ts';
import type { RequestsDeps } from './deps.ts';

/** The parts of a request that policy decides about. */
export interface RequestTerms {
  scopes: string[];
  durationSeconds: number;
  hasTicket: boolean;
  authorizationDetails: Detail[] | null;
}

export interface Assessment {
  facts: DecisionRequest;
  result: ProbeResult;
  /** Smaller requests that policy would permit; empty unless the request is denied. */
  hints: Hint[];
  /** An error in the request itself; undefined if describing it would reveal that the resource exists. */
  problem:
    | { code: 'invalid-scope' | 'invalid-request' | 'invalid-authorization-details'; detail: string }
    | undefined;
}

interface Setting {
  engine: PolicyEngine;
  details: DetailsRules;
  agent: Agent;
  resource: Resource;
  eligible: EligibleApprovers;
  circumstances: Circumstances;
}

/** Finds the eligible approvers: people with the role and a valid key who do not control the agent. */
export async function eligibleApprovers(
  deps: Pick<RequestsDeps, 'admins' | 'agents' | 'clock'>,
  db: Db,
  agentId: string,
): Promise<EligibleApprovers> {
  const controllers = await deps.agents.controllersOf(db, agentId, deps.clock.now());
  const may = (approver: Approver): boolean => approver.hasKey && !controllers.has(approver.id);
  const approvers = (await deps.admins.listApprovers(db)).filter(may);
  return { groups: approvers.map((approver) => approver.groups) };
}

/** Decides a request. No I/O. */
export function assess(setting: Setting, terms: RequestTerms): Assessment {
  const { engine, agent, resource, eligible, circumstances } = setting;
  const { hasTicket } = terms;
  const factsOf = (part: Omit<RequestTerms, 'hasTicket'>): DecisionRequest =>
    requestFacts({ ...part, agent, resource, hasTicket, circumstances });
  const facts = factsOf(terms);
  const options = { eligible, risks: risksOf(resource.scopes) };
  const problem = findProblem(setting, terms);
  if (problem !== undefined) {
    const part = validPart(setting, terms);
    const result = probe(engine, factsOf(part), eligible);
    const visible = result.outcome !== 'denied' || hints(engine, factsOf(part), options).length > 0;
    return { facts, result: denied, hints: [], problem: visible ? problem : undefined };
  }
  const result = probe(engine, facts, eligible);
  return { facts, result, hints: result.outcome === 'denied' ? hints(engine, facts, options) : [], problem };
}

/** The result for an unknown resource. A resource that policy never permits must look the same. */
export const denied: DeniedResult = { outcome: 'denied', code: 'policy-denied', policies: [], errors: [] };

function findProblem(
  { resource, details }: Pick<Setting, 'resource' | 'details'>,
  { scopes, durationSeconds, authorizationDetails }: RequestTerms,
): Assessment['problem'] {
  const unknown = scopes.filter((scope) => !resource.scopes.some(({ name }) => name === scope));
  if (unknown.length > 0) {
    return { code: 'invalid-scope', detail: `not in the catalogue of the resource: ${unknown.join(' ')}` };
  }
  if (durationSeconds > resource.maxGrantSeconds) {
    return {
      code: 'invalid-request',
      detail: `duration_seconds must be at most ${resource.maxGrantSeconds}`,
    };
  }
  const problem = details.problem(resource.authorizationDetailsTypes, authorizationDetails ?? []);
  return problem === undefined ? undefined : { code: 'invalid-authorization-details', detail: problem };
}

/**
 * Returns the valid part of an invalid request. If it names no known scope, a scope with the lowest risk replaces
 * them.
 */
function validPart(
  { resource, details }: Pick<Setting, 'resource' | 'details'>,
  terms: RequestTerms,
): Omit<RequestTerms, 'hasTicket'> {
  const known = terms.scopes.filter((scope) => resource.scopes.some(({ name }) => name === scope));
  const least = ['low', 'medium', 'high'].flatMap((risk) =>
    resource.scopes.filter((one) => one.risk === risk),
  );
  const scopes = known.length > 0 ? known : least.slice(0, 1).map(({ name }) => name);
  const wanted = terms.authorizationDetails ?? [];
  const isGood = details.problem(resource.authorizationDetailsTypes, wanted) === undefined;
  return {
    scopes,
    durationSeconds: Math.min(terms.durationSeconds, resource.maxGrantSeconds),
    authorizationDetails: isGood ? terms.authorizationDetails : null,
  };
}
