import { assertDetailsSize } from '../authorization-details/size.ts';
import { BrokerError, type ErrorCode } from '../errors.ts';
import type { PolicyRef } from '../grants/facts.ts';
import type { Circumstances } from '../policies/decision-facts.ts';
import { createPolicyEngine, type PolicyEngine } from '../policies/engine.ts';
import type { Hint } from '../policies/hints.ts';
import { assertValidPolicy } from '../policies/policy.ts';
import { assess, denied, eligibleApprovers, type RequestTerms } from './assess.ts';
import type { RequestsDeps } from './deps.ts';

export interface Simulation extends RequestTerms {
  agentId: string;
  resource: string;
  circumstances: Circumstances;
  /** Policy text instead of the policies in force. */
  cedar: string | undefined;
}

export interface SimulationResult {
  outcome: 'permit' | 'pending' | 'denied';
  approvalsRequired: number;
  policies: PolicyRef[];
  code: ErrorCode | null;
  errors: string[];
  hints: Hint[];
}

/** Creates an engine with this policy only, for one call. Throws `invalid-policy`. */
function engineOf({ random }: RequestsDeps, cedar: string): PolicyEngine {
  assertValidPolicy(cedar);
  const engine = createPolicyEngine({ random });
  engine.load([{ id: 'simulated', version: 1, cedar }], 1);
  return engine;
}

/**
 * Returns the decision about a request without recording it. Throws `not-found` (unknown agent),
 * `invalid-policy` and, for details beyond the size limits, `invalid-authorization-details`.
 */
export async function simulate(deps: RequestsDeps, simulation: Simulation): Promise<SimulationResult> {
  assertDetailsSize(simulation.authorizationDetails);
  const { db, agents, resources, policies } = deps;
  const agent = await agents.find(db, simulation.agentId);
  if (agent === undefined) throw new BrokerError('not-found', { detail: 'there is no agent with this id' });
  const resource = await resources.findByIdentifier(db, simulation.resource);
  await policies.refresh();
  const engine = simulation.cedar === undefined ? policies.engine : engineOf(deps, simulation.cedar);
  if (resource === undefined)
    return describe({ result: denied, hints: [] }, 'there is no resource with this identifier');
  const setting = {
    engine,
    details: deps.details,
    agent,
    resource,
    eligible: await eligibleApprovers(deps, db, agent.id),
    circumstances: simulation.circumstances,
  };
  const assessment = assess(setting, simulation);
  return describe(assessment, assessment.problem?.detail);
}

/** Describes the result with all errors of the request: the caller is an admin, who may see them. */
function describe(
  { result, hints }: Pick<ReturnType<typeof assess>, 'result' | 'hints'>,
  problem: string | undefined,
): SimulationResult {
  return {
    outcome: result.outcome,
    approvalsRequired: result.outcome === 'pending' ? result.approvalsRequired : 0,
    policies: result.policies,
    code: result.outcome === 'denied' ? result.code : null,
    errors: [
      ...(problem === undefined ? [] : [problem]),
      ...(result.outcome === 'denied' ? result.errors : []),
    ],
    hints,
  };
}
