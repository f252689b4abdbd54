import type { Detail } from '../authorization-details/details-type.ts';
import { type DecisionRequest, detailFacts, maxRisk, type Risk, timeFacts } from '../policies/facts.ts';
import type { ApprovalFacts, ScopeText } from './grant.ts';

/** Where and when something is done, and how its doer proved itself. */
export interface Circumstances {
  now: Date;
  address: string;
  authMethod: string;
  /** Whether it is done for somebody else. */
  delegated?: boolean | undefined;
}

export function risksOf(catalogue: readonly ScopeText[]): ReadonlyMap<string, Risk> {
  return new Map(catalogue.map((scope) => [scope.name, scope.risk]));
}

/** The facts of a request: what is frozen on the grant. */
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
 * The frozen facts with what is true now: the terms as narrowed, the catalogue's present risk, the approvals that
 * count and, for a use, its own hour, weekday, address and method.
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
      // A grant that was requested before these were facts has none.
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
