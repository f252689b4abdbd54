import { type SqlBool, sql } from 'kysely';
import type { Detail } from '../authorization-details/details-type.ts';
import type { Db, Tx } from '../db/database.ts';
import type { Delegation } from './delegation.ts';
import type { DecisionRequest, PolicyRef } from './facts.ts';
import type { ApprovalFacts, changeStamp, Grant, ScopeText } from './grant.ts';
import { storedStatuses } from './liveness.ts';
import * as liveness from './liveness-sql.ts';
import { bindInstants } from './liveness-sql.ts';
import type { GrantStatus } from './states.ts';

/** Selects grants, each with the current values of its agent and resource. */
function selectGrants(db: Db) {
  return db
    .selectFrom('grants as g')
    .innerJoin('agents as a', 'a.id', 'g.agent_id')
    .innerJoin('resources as r', 'r.id', 'g.resource_id')
    .select([
      'g.id',
      'g.version',
      'g.status',
      'g.agent_id',
      'g.resource_id',
      'g.requested_scopes',
      'g.scopes',
    ])
    .select([
      'g.requested_duration_seconds',
      'g.duration_seconds',
      'g.reason',
      'g.ticket',
      'g.request_digest',
      'g.authorization_details',
    ])
    .select(['g.approvals_required', 'g.decision_policies', 'g.owner_at_request', 'g.agent_epoch'])
    .select([
      'g.resource_epoch',
      'g.requested_at',
      'g.lapses_at',
      'g.decided_at',
      'g.starts_at',
      'g.expires_at',
    ])
    .select([
      'g.ended_at',
      'g.ended_by',
      'g.end_reason',
      'a.owner_id',
      'r.identifier',
      'r.scopes as catalogue',
    ])
    .select(sql<boolean>`${sql.raw(liveness.isEndedByPerson)}`.as('ended_by_person'))
    .select(['a.version as agent_version', 'g.ancestors', 'g.delegation'])
    .select(bindInstants<Date | null>(liveness.agentExpiresAt).as('agent_expires_at'))
    .select(['r.version as resource_version', 'g.request_facts', 'g.approval_facts'])
    .select(bindInstants<Date | null>(liveness.epochsEndedAt).as('foundation_ended_at'))
    .select(bindInstants<number>(liveness.ancestorsVersion).as('ancestors_version'));
}

type GrantRow = Awaited<ReturnType<ReturnType<typeof selectGrants>['executeTakeFirstOrThrow']>>;

export type StoredGrant = Grant & {
  facts: DecisionRequest;
  /** The approvals that count for its uses; null while it is pending. */
  approvals: ApprovalFacts | null;
};

function toGrant(row: GrantRow): StoredGrant {
  return {
    id: row.id,
    version: row.version,
    status: row.status as GrantStatus,
    agentId: row.agent_id,
    ownerId: row.owner_id,
    agentVersion: row.agent_version,
    resourceId: row.resource_id,
    resource: row.identifier,
    resourceVersion: row.resource_version,
    ancestorsVersion: Number(row.ancestors_version),
    catalogue: row.catalogue as unknown as ScopeText[],
    requestedScopes: row.requested_scopes,
    requestedDurationSeconds: row.requested_duration_seconds,
    scopes: row.scopes,
    durationSeconds: row.duration_seconds,
    reason: row.reason,
    ticket: row.ticket,
    authorizationDetails: row.authorization_details as Detail[] | null,
    requestDigest: row.request_digest,
    approvalsRequired: row.approvals_required,
    policies: row.decision_policies as unknown as PolicyRef[],
    ownerAtRequest: row.owner_at_request,
    agentEpoch: row.agent_epoch,
    resourceEpoch: row.resource_epoch,
    epochsEndedAt: row.foundation_ended_at,
    ancestors: row.ancestors,
    delegation: row.delegation as unknown as Delegation | null,
    agentExpiresAt: row.agent_expires_at,
    requestedAt: row.requested_at,
    lapsesAt: row.lapses_at,
    decidedAt: row.decided_at,
    startsAt: row.starts_at,
    expiresAt: row.expires_at,
    endedAt: row.ended_at,
    endedBy: row.ended_by,
    endReason: row.end_reason,
    endedByPerson: row.ended_by_person,
    facts: row.request_facts as unknown as DecisionRequest,
    approvals: row.approval_facts as unknown as ApprovalFacts | null,
  };
}

export async function findGrant(db: Db, id: string): Promise<StoredGrant | undefined> {
  const row = await selectGrants(db).where('g.id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toGrant(row);
}

/** Finds the newest grant that the agent itself requested with these terms, in any order of scopes. */
export async function findLatest(
  db: Db,
  terms: Pick<Grant, 'agentId' | 'resourceId' | 'scopes' | 'authorizationDetails'>,
): Promise<StoredGrant | undefined> {
  const { scopes, authorizationDetails } = terms;
  const details = authorizationDetails === null ? null : JSON.stringify(authorizationDetails);
  const row = await selectGrants(db)
    .where('g.agent_id', '=', terms.agentId)
    .where('g.resource_id', '=', terms.resourceId)
    .where('g.ancestors', '=', sql<string[]>`'{}'`)
    .where(sql<SqlBool>`g.requested_scopes <@ ${scopes}::text[] and g.requested_scopes @> ${scopes}::text[]`)
    .where(sql<SqlBool>`g.authorization_details is not distinct from ${details}::jsonb`)
    .orderBy('g.id', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row === undefined ? undefined : toGrant(row);
}

/**
 * Finds a grant and locks its row, and the rows of its agent and resource, against a new epoch until the transaction ends.
 * So the agent cannot be disabled, nor the resource deleted, during the transaction. With `agentId`, finds and locks only a
 * grant of this agent.
 */
export async function lockGrant(tx: Tx, id: string, agentId?: string): Promise<StoredGrant | undefined> {
  const known = tx.selectFrom('grants').select('resource_id').where('id', '=', id);
  // Locks the resource before the grant, as a change of its catalogue does, so that the two cannot deadlock.
  await tx
    .selectFrom('resources')
    .select('id')
    .where('id', '=', agentId === undefined ? known : known.where('agent_id', '=', agentId))
    .forShare()
    .execute();
  const grant = selectGrants(tx).where('g.id', '=', id);
  const own = agentId === undefined ? grant : grant.where('g.agent_id', '=', agentId);
  const row = await own.forUpdate('g').forShare('a').executeTakeFirst();
  return row === undefined ? undefined : toGrant(row);
}

export interface GrantFilter {
  /** The effective status at `now`, not the stored one. */
  status?: GrantStatus | undefined;
  agentId?: string | undefined;
  ownerId?: string | undefined;
  resource?: string | undefined;
}

/** Lists up to `limit` grants with ids below `before`, newest first. */
export async function listGrants(
  db: Db,
  filter: GrantFilter,
  page: { now: Date; limit: number; before?: string | undefined },
): Promise<StoredGrant[]> {
  let query = selectGrants(db).orderBy('g.id', 'desc').limit(page.limit);
  if (page.before !== undefined) query = query.where('g.id', '<', page.before);
  if (filter.agentId !== undefined) query = query.where('g.agent_id', '=', filter.agentId);
  if (filter.ownerId !== undefined) query = query.where('a.owner_id', '=', filter.ownerId);
  if (filter.resource !== undefined) query = query.where('r.identifier', '=', filter.resource);
  if (filter.status !== undefined) {
    query = query
      .where('g.status', 'in', storedStatuses(filter.status))
      .where(sql<SqlBool>`${bindInstants(liveness.effectiveStatus, { now: page.now })} = ${filter.status}`);
  }
  return (await query.execute()).map(toGrant);
}

/** Reads the versions of grants, their agents, resources and ancestors, for long polls to compare. */
export async function readVersions(
  db: Db,
  ids: string[],
): Promise<(Parameters<typeof changeStamp>[0] & { id: string })[]> {
  const rows = await db
    .selectFrom('grants as g')
    .innerJoin('agents as a', 'a.id', 'g.agent_id')
    .innerJoin('resources as r', 'r.id', 'g.resource_id')
    .select(['g.id', 'g.version', 'a.version as agentVersion', 'r.version as resourceVersion'])
    .select(bindInstants<number>(liveness.ancestorsVersion).as('ancestorsVersion'))
    .where(sql<SqlBool>`g.id = any(${ids}::text[])`)
    .execute();
  return rows.map((row) => ({ ...row, ancestorsVersion: Number(row.ancestorsVersion) }));
}

export type NewGrant = Pick<
  Grant,
  'id' | 'agentId' | 'resourceId' | 'scopes' | 'durationSeconds' | 'reason' | 'ticket' | 'requestDigest'
> &
  Pick<Grant, 'approvalsRequired' | 'policies' | 'ownerAtRequest' | 'agentEpoch' | 'resourceEpoch'> &
  Pick<Grant, 'requestedAt' | 'lapsesAt' | 'authorizationDetails'> & {
    facts: DecisionRequest;
    /** Present if policy permitted the request at once: the grant is made active. */
    period: { startsAt: Date; expiresAt: Date } | undefined;
    /** Present if the grant is delegated from another grant. */
    derivation?: Derivation;
  };

/** The ancestors, the subject tokens and the approvals of a delegated grant (RFC 8693). */
export interface Derivation {
  ancestors: string[];
  delegation: Delegation;
  /** The ids of the subject token and of the tokens for which it was exchanged: the grant ends with any of them. */
  subjects: string[];
  /** The approvals of its ancestors that count for it. */
  approvals: ApprovalFacts;
}

export async function insertGrant(tx: Tx, grant: NewGrant): Promise<void> {
  const { period, derivation } = grant;
  const approvals = derivation?.approvals ?? { approvals: 0, approver_groups: [] };
  await tx
    .insertInto('grants')
    .values({
      id: grant.id,
      agent_id: grant.agentId,
      resource_id: grant.resourceId,
      status: period === undefined ? 'pending' : 'active',
      requested_scopes: grant.scopes,
      requested_duration_seconds: grant.durationSeconds,
      scopes: grant.scopes,
      duration_seconds: grant.durationSeconds,
      reason: grant.reason,
      ticket: grant.ticket,
      authorization_details:
        grant.authorizationDetails === null ? null : JSON.stringify(grant.authorizationDetails),
      request_digest: grant.requestDigest,
      request_facts: JSON.stringify(grant.facts),
      approvals_required: grant.approvalsRequired,
      approval_facts: period === undefined ? null : JSON.stringify(approvals),
      ancestors: derivation?.ancestors ?? [],
      delegation: derivation === undefined ? null : JSON.stringify(derivation.delegation),
      subjects: derivation?.subjects ?? [],
      decision_policies: JSON.stringify(grant.policies),
      owner_at_request: grant.ownerAtRequest,
      agent_epoch: grant.agentEpoch,
      resource_epoch: grant.resourceEpoch,
      requested_at: grant.requestedAt,
      lapses_at: grant.lapsesAt,
      decided_at: period?.startsAt ?? null,
      starts_at: period?.startsAt ?? null,
      expires_at: period?.expiresAt ?? null,
    })
    .execute();
}
