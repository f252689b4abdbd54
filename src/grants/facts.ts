/** The requesting agent: `Agent::"<id>"` in `Owner::"<owner>"`. */
export interface AgentFacts {
  /** The id (`agt_...`). */
  id: string;
  /** The id of the owner (`adm_...`). */
  owner: string;
  name: string;
  environment: string;
  labels: readonly string[];
}

/** The requested resource: `Resource::"<identifier>"`. */
export interface ResourceFacts {
  identifier: string;
  kind: string;
  labels: readonly string[];
}

export type Risk = 'low' | 'medium' | 'high';

/** The circumstances of a request. No fact is free text of the requester. */
export interface ContextFacts {
  scopes: readonly string[];
  /** The highest risk among `scopes`, by the current catalogue. */
  max_risk: Risk;
  duration_seconds: number;
  has_ticket: boolean;
  /** The types of the requested authorization details (RFC 9396). */
  detail_types: readonly string[];
  /** Every model and action that details of type `llm` name. */
  llm_models: readonly string[];
  llm_actions: readonly string[];
  /** How many people have approved. */
  approvals: number;
  /** The groups of all approvers who have approved. */
  approver_groups: readonly string[];
  /** The hour, 0 to 23, in UTC. */
  hour: number;
  /** The day of the week, 1 (Monday) to 7 (Sunday), in UTC. */
  weekday: number;
  /** The client's IP address as text; absent if it is unknown or not an IP address. */
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
  /** `error` denies too: Cedar skips a policy that fails, and a skipped `forbid` would permit too much. */
  decision: 'permit' | 'deny' | 'error';
  /** The determining policies: the permits of a permit, the forbids of a deny, the failed policies of an error. */
  policies: PolicyRef[];
  /** The errors of the failed policies, for the log; empty unless `decision` is `error`. */
  errors: string[];
}

const riskOrder: readonly Risk[] = ['low', 'medium', 'high'];

/** Returns the highest risk among `scopes`; a scope that is not in the catalogue counts as `high`. */
export function maxRisk(scopes: readonly string[], risks: ReadonlyMap<string, Risk>): Risk {
  const ranks = scopes.map((scope) => riskOrder.indexOf(risks.get(scope) ?? 'high'));
  return riskOrder[Math.max(0, ...ranks)] ?? 'high';
}

/** Returns the facts about authorization details that policies see. */
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

/** Returns `hour` (0..23) and `weekday` (Monday 1 to Sunday 7, ISO 8601) of a moment, in UTC. */
export function timeFacts(moment: Date): Pick<ContextFacts, 'hour' | 'weekday'> {
  return { hour: moment.getUTCHours(), weekday: moment.getUTCDay() || 7 };
}
