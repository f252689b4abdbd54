import type { Approval } from '../grants/grant.ts';
import { presentScope } from '../resources/present.ts';
import type { GrantView } from './service.ts';

const iso = (time: Date | null): string | null => time?.toISOString() ?? null;

function presentApproval(approval: Approval) {
  return {
    by: approval.by,
    key_id: approval.keyId,
    key_issued_by: approval.keyIssuedBy,
    at: approval.at.toISOString(),
    note: approval.note,
    request_digest: approval.requestDigest,
  };
}

function presentDecision({ grant, approvals }: GrantView) {
  return {
    policies: grant.policies,
    approvals_required: grant.approvalsRequired,
    approvals: approvals.map(presentApproval),
  };
}

/** Converts a grant to its representation in the API. */
export function present(view: GrantView) {
  const { grant } = view;
  const { name, environment } = grant.facts.principal;
  return {
    id: grant.id,
    status: view.status,
    agent_id: grant.agentId,
    agent: {
      name,
      owner: grant.ownerAtRequest,
      environment: environment as 'production' | 'staging' | 'development',
    },
    resource: grant.resource,
    scopes: grant.scopes,
    scope_details: grant.catalogue.filter((scope) => grant.scopes.includes(scope.name)).map(presentScope),
    requested_scopes: grant.requestedScopes,
    duration_seconds: grant.durationSeconds,
    requested_duration_seconds: grant.requestedDurationSeconds,
    reason: grant.reason,
    ticket: grant.ticket,
    authorization_details: grant.authorizationDetails,
    parent_id: grant.ancestors.at(-1) ?? null,
    delegation: grant.delegation,
    request_digest: view.requestDigest,
    decision: presentDecision(view),
    requested_at: grant.requestedAt.toISOString(),
    lapses_at: grant.lapsesAt.toISOString(),
    decided_at: iso(grant.decidedAt),
    starts_at: iso(grant.startsAt),
    expires_at: iso(grant.expiresAt),
    ended_at: iso(grant.endedAt),
    ended_by: grant.endedBy,
    end_reason: grant.endReason,
  };
}
