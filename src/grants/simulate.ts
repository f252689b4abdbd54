import { BrokerError } from '../errors.ts';
import { createPolicyEngine, type PolicyEngine } from '../policies/engine.ts';
import type { PolicyRef } from '../policies/facts.ts';
import type { Hint } from '../policies/hints.ts';
import { assertValidPolicy } from '../policies/policy.ts';
import { type Asked, assess, denied, eligibleApprovers } from './assess.ts';
import type { Circumstances } from './decision-facts.ts';
import type { GrantsDeps } from './deps.ts';

export interface Simulation extends Asked {
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
  code: string | null;
  errors: string[];
  hints: Hint[];
}

/** An engine of its own, thrown away after the call. Throws `invalid-policy`. */
function engineOf({ random }: GrantsDeps, cedar: string): PolicyEngine {
  assertValidPolicy(cedar);
  const engine = createPolicyEngine({ random });
  engine.load([{ id: 'simulated', version: 1, cedar }], 1);
  return engine;
}

/** What would become of a request; changes nothing. Throws `not-found` (no such agent) and `invalid-policy`. */
export async function simulate(deps: GrantsDeps, simulation: Simulation): Promise<SimulationResult> {
  const { db, agents, resources, policies } = deps;
  const agent = await agents.find(db, simulation.agentId);
  if (agent === undefined) throw new BrokerError('not-found', { detail: 'there is no such agent' });
  const resource = await resources.findByIdentifier(db, simulation.resource);
  await policies.refresh();
  const engine = simulation.cedar === undefined ? policies.engine : engineOf(deps, simulation.cedar);
  if (resource === undefined) return describe({ result: denied, hints: [] }, 'there is no such resource');
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

/** Whoever simulates is an admin: what is wrong is said. */
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
