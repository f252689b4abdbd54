import type { AgentFacts, ContextFacts, DecisionRequest, ResourceFacts } from '../../src/grants/facts.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { createPolicyEngine, type PolicyEngine } from '../../src/policies/engine.ts';

export interface Changes {
  principal?: Partial<AgentFacts>;
  resource?: Partial<ResourceFacts>;
  context?: Partial<ContextFacts>;
}

/** Makes a low-risk request of a development agent for an API, with `changes`. */
export function requestOf({ principal, resource, context }: Changes = {}): DecisionRequest {
  return {
    principal: {
      id: 'agt_1',
      owner: 'adm_owner',
      name: 'reporter',
      environment: 'development',
      labels: ['team:data'],
      ...principal,
    },
    resource: { identifier: 'https://api.example/', kind: 'api', labels: ['internal'], ...resource },
    context: {
      scopes: ['read'],
      max_risk: 'low',
      duration_seconds: 600,
      has_ticket: false,
      detail_types: [],
      llm_models: [],
      llm_actions: [],
      approvals: 0,
      approver_groups: [],
      hour: 10,
      weekday: 1,
      source_ip: '203.0.113.7',
      auth_method: 'client_secret_basic',
      delegated: false,
      ...context,
    },
  };
}

/** Creates an engine with these texts as the policies `pol_0`, `pol_1`, ... in version 1. */
export function engineWith(...texts: string[]): PolicyEngine {
  const engine = createPolicyEngine({ random: createSystemRandom() });
  engine.load(
    texts.map((cedar, index) => ({ id: `pol_${index}`, version: 1, cedar })),
    1,
  );
  return engine;
}

/** Wraps an engine to count its decisions. */
export function counting(engine: PolicyEngine): { engine: PolicyEngine; count: () => number } {
  let decisions = 0;
  const counted: PolicyEngine = {
    get epoch() {
      return engine.epoch;
    },
    get literals() {
      return engine.literals;
    },
    load: (policies, epoch) => engine.load(policies, epoch),
    reset: () => engine.reset(),
    decide(request) {
      decisions += 1;
      return engine.decide(request);
    },
  };
  return { engine: counted, count: () => decisions };
}

export const permitWhen = (condition: string): string =>
  `permit(principal, action == Action::"request", resource) when { ${condition} };`;
export const forbidWhen = (condition: string): string =>
  `forbid(principal, action == Action::"request", resource) when { ${condition} };`;
export const permitAll = 'permit(principal, action, resource);';
/** Strictly valid, but fails at run time for every duration above 1. */
export const overflows = 'context.duration_seconds * 9223372036854775807 > 0';

export const lowRiskAtOnce = `// low-risk scopes at once, for up to 15 minutes
permit(principal, action == Action::"request", resource)
  when { context.max_risk == "low" && context.duration_seconds <= 900 };`;
export const onePersonAgrees = `// anything else when one person agrees
permit(principal, action == Action::"request", resource) when { context.approvals >= 1 };`;
export const productionDatabases = `// production databases: two, one of them from security
forbid(principal, action == Action::"request", resource)
  when { resource.kind == "postgres" && principal.environment == "production" }
  unless { context.approvals >= 2 && context.approver_groups.contains("security") };`;
