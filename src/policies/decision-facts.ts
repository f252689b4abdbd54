import type { Detail } from '../authorization-details/details-type.ts';
import { type DecisionRequest, detailFacts, maxRisk, type Risk, timeFacts } from '../grants/facts.ts';
import type { ApprovalFacts, ScopeText } from '../grants/grant.ts';

/** When, from where and with which authentication method a grant is requested or used. */
export interface Circumstances {
  now: Date;
  address: string;
  authMethod: string;
  /** Whether the agent acts on behalf of another. */
  delegated?: boolean | undefined;
}

export function risksOf(catalogue: readonly ScopeText[]): ReadonlyMap<string, Risk> {
  return new Map(catalogue.map((scope) => [scope.name, scope.risk]));
}

/** Returns the facts of a request, which are stored unchanged with the grant. */
export function requestFacts(request: {
  agent: { id: string; owner: string; name: string; environment: string; labels: string[] };
  resource: { identifier: string; kind: string; labels: string[]; scopes: ScopeText[] };
  scopes: string[];
  durationSeconds: number;
  hasTicket: boolean;
  authorizationDetails: readonly Detail[] | null;
  circumstances: Circumstances;
}): DecisionRequest {
  const { agent, resource, scopes, circumstances } = request;
  return {
    principal: {
      id: agent.id,
      owner: agent.owner,
      name: agent.name,
      environment: agent.environment,
      labels: agent.labels,
    },
    resource: { identifier: resource.identifier, kind: resource.kind, labels: resource.labels },
    context: {
      scopes,
      max_risk: maxRisk(scopes, risksOf(resource.scopes)),
      duration_seconds: request.durationSeconds,
      has_ticket: request.hasTicket,
      ...detailFacts(request.authorizationDetails ?? []),
      approvals: 0,
      approver_groups: [],
      ...timeFacts(circumstances.now),
      source_ip: circumstances.address,
      auth_method: circumstances.authMethod,
      delegated: circumstances.delegated ?? false,
    },
  };
}

/**
 * Returns the stored facts with the current values: the narrowed terms, the catalogue's current risk, the approvals
 * that count and, for a use of the grant, its own time, address and authentication method.
 */
export function currentFacts(
  frozen: DecisionRequest,
  current: {
    scopes: readonly string[];
    durationSeconds: number;
    catalogue: readonly ScopeText[];
    approvals: ApprovalFacts;
    circumstances?: Circumstances;
  },
): DecisionRequest {
  const { scopes, durationSeconds, catalogue, approvals, circumstances } = current;
  const use =
    circumstances === undefined
      ? {}
      : {
          ...timeFacts(circumstances.now),
          source_ip: circumstances.address,
          auth_method: circumstances.authMethod,
          delegated: circumstances.delegated ?? frozen.context.delegated,
        };
  return {
    ...frozen,
    context: {
      // Older grants were requested before these facts existed.
      ...detailFacts([]),
      ...frozen.context,
      scopes,
      max_risk: maxRisk(scopes, risksOf(catalogue)),
      duration_seconds: durationSeconds,
      ...approvals,
      ...use,
    },
  };
}
