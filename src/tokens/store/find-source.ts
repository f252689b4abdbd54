import { type SqlBool, sql } from 'kysely';
import type { Detail, DetailsType } from '../../authorization-details/details-type.ts';
import type { Db } from '../../db/database.ts';
import type { Delegation } from '../../grants/delegation.ts';
import type { DecisionRequest } from '../../grants/facts.ts';
import type { ApprovalFacts, ScopeText } from '../../grants/grant.ts';
import { bindInstants, isUsableUntil } from '../../grants/liveness-sql.ts';

export interface SourceResource {
  id: string;
  identifier: string;
  epoch: number;
  version: number;
  tokenTtlSeconds: number;
  tokenAlg: string;
  requireBoundTokens: boolean;
  authorizationDetailsTypes: DetailsType[];
  catalogue: ScopeText[];
}

export interface SourceGrant {
  id: string;
  version: number;
  scopes: string[];
  durationSeconds: number;
  expiresAt: Date;
  authorizationDetails: Detail[] | null;
  facts: DecisionRequest;
  approvals: ApprovalFacts;
  /** The subject and the actors of a delegated grant; null if the grant is the agent's own. */
  delegation: Delegation | null;
}

/**
 * Reads the resource with one of these identifiers and the agent's usable grants for it:
 * active, and expiring no earlier than `usableUntil`. Reads only the pinned grant if there is
 * one, otherwise every grant that is not delegated. Undefined if the resource does not exist.
 */
export async function findSource(
  db: Db,
  query: { agentId: string; identifiers: string[]; pinned: string | undefined; now: Date; usableUntil: Date },
): Promise<{ resource: SourceResource; grants: SourceGrant[] } | undefined> {
  const resource = await db
    .selectFrom('resources')
    .select(['id', 'identifier', 'epoch', 'version', 'scopes as catalogue'])
    .select(['token_ttl_seconds as tokenTtlSeconds', 'token_alg as tokenAlg'])
    .select('require_bound_tokens as requireBoundTokens')
    .select('authorization_details_types as authorizationDetailsTypes')
    .where('identifier', 'in', query.identifiers)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  if (resource === undefined) return undefined;
  const grants = await db
    .selectFrom('grants as g')
    .innerJoin('agents as a', 'a.id', 'g.agent_id')
    .innerJoin('resources as r', 'r.id', 'g.resource_id')
    .select(['g.id', 'g.version', 'g.scopes', 'g.duration_seconds as durationSeconds'])
    .select('g.authorization_details as authorizationDetails')
    .select('g.delegation')
    .select(
      sql<Date>`case when g.ancestors = '{}' then g.expires_at
        else least(g.expires_at, ancestors_expire_at(g.ancestors)) end`.as('expiresAt'),
    )
    .select(['g.request_facts as facts', 'g.approval_facts as approvals'])
    .where('g.agent_id', '=', query.agentId)
    .where('g.resource_id', '=', resource.id)
    .where(
      query.pinned === undefined ? sql<SqlBool>`g.ancestors = '{}'` : sql<SqlBool>`g.id = ${query.pinned}`,
    )
    .where(bindInstants<SqlBool>(isUsableUntil, { now: query.now, until: query.usableUntil }))
    .execute();
  return {
    resource: resource as unknown as SourceResource,
    grants: grants as unknown as SourceGrant[],
  };
}
