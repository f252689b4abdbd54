/** The agent that asks: `Agent::"<id>"` in `Owner::"<owner>"`. */
export interface AgentFacts {
  /** `agt_...` */
  id: string;
  /** `adm_...` */
  owner: string;
  name: string;
  environment: string;
  labels: readonly string[];
}

/** What it asks for: `Resource::"<identifier>"`. */
export interface ResourceFacts {
  identifier: string;
  kind: string;
  labels: readonly string[];
}

export type Risk = 'low' | 'medium' | 'high';

/** The circumstances. Nothing here is written freely by the requester. */
export interface ContextFacts {
  scopes: readonly string[];
  /** The highest risk among `scopes`, by the current catalogue. */
  max_risk: Risk;
  duration_seconds: number;
  has_ticket: boolean;
  /** The types of the authorization details that are asked for (RFC 9396). */
  detail_types: readonly string[];
  /** Every model and action that details of type `llm` name. */
  llm_models: readonly string[];
  llm_actions: readonly string[];
  /** How many people have approved. */
  approvals: number;
  /** Every group of everyone who has approved. */
  approver_groups: readonly string[];
  /** 0..23, UTC. */
  hour: number;
  /** 1 (Monday) to 7 (Sunday), UTC. */
  weekday: number;
  /** An address as text; left out where it is not known or not an address. */
  source_ip?: string | null | undefined;
  auth_method: string;
  delegated: boolean;
}

export interface DecisionRequest {
  principal: AgentFacts;
  resource: ResourceFacts;
  context: ContextFacts;
}

/** A version of a stored policy. */
export interface PolicyRef {
  id: string;
  version: number;
}

export interface Decision {
  /** `error` denies too: Cedar skips a policy that errs, and a skipped `forbid` would open. */
  decision: 'permit' | 'deny' | 'error';
  /** The policies that determined it: permits of a permit, forbids of a deny, those that erred of an error. */
  policies: PolicyRef[];
  /** What went wrong, for the log; empty unless `decision` is `error`. */
  errors: string[];
}

const riskOrder: readonly Risk[] = ['low', 'medium', 'high'];

/** The highest risk among `scopes`; a scope the catalogue does not know counts as `high`. */
export function maxRisk(scopes: readonly string[], risks: ReadonlyMap<string, Risk>): Risk {
  const ranks = scopes.map((scope) => riskOrder.indexOf(risks.get(scope) ?? 'high'));
  return riskOrder[Math.max(0, ...ranks)] ?? 'high';
}

/** What policies see of authorization details. */
export function detailFacts(
  details: readonly { type: string; [member: string]: unknown }[],
): Pick<ContextFacts, 'detail_types' | 'llm_models' | 'llm_actions'> {
  const ofLlm = details.filter(({ type }) => type === 'llm');
  const all = (lists: readonly unknown[]): string[] => [...new Set(lists.flat() as string[])].sort();
  return {
    detail_types: all(details.map(({ type }) => type)),
    llm_models: all(ofLlm.map(({ models }) => models)),
    llm_actions: all(ofLlm.map(({ actions }) => actions)),
  };
}

/** `hour` (0..23) and `weekday` (Monday 1 to Sunday 7, ISO 8601) of a moment, in UTC. */
export function timeFacts(moment: Date): Pick<ContextFacts, 'hour' | 'weekday'> {
  return { hour: moment.getUTCHours(), weekday: moment.getUTCDay() || 7 };
}
