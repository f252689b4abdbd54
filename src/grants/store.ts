import { type SqlBool, sql } from 'kysely';
import type { Detail } from '../authorization-details/details-type.ts';
import type { Db, Tx } from '../db/database.ts';
import { lineEndedAt } from '../db/line-ended-at.ts';
import type { DecisionRequest, PolicyRef } from '../policies/facts.ts';
import type { Delegation } from './delegation/delegation.ts';
import {
  type ApprovalFacts,
  type changeStamp,
  type Grant,
  type GrantStatus,
  type ScopeText,
  storedStatuses,
} from './grant.ts';

/** When the first epoch ended that grant g or one above it was issued under, or such a one; null: all last. */
export const outerEndedAt = sql`least(a.epoch_ends[g.agent_epoch::integer], r.epoch_ends[g.resource_epoch::integer],
  ${lineEndedAt})`;

/** The versions of the grants above grant g, and of their agents, and one more once anything above has ended; 0: there are none. */
const lineVersion = sql<number>`case when g.ancestors <> '{}'
  then line_version(g.ancestors) + (${lineEndedAt} is not null)::integer else 0 end`;

/** When the first agent ends of those of grant g and the grants above it; null: none does. */
const agentExpiresAt = sql`least(a.expires_at, case when g.ancestors <> '{}' then line_expires_at(g.ancestors) end)`;

/** When the time of an open grant g is over. */
export const ownEnd = sql`case g.status when 'pending' then g.lapses_at else g.expires_at end`;

/** A grant as it is read: its row, and what agent and resource are now. */
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
    .select(['a.version as agent_version', 'g.ancestors', 'g.delegation'])
    .select(sql<Date | null>`${agentExpiresAt}`.as('agent_expires_at'))
    .select(['r.version as resource_version', 'g.request_facts'])
    .select(sql<Date | null>`${outerEndedAt}`.as('outer_ended_at'))
    .select(lineVersion.as('line_version'));
}

type GrantRow = Awaited<ReturnType<ReturnType<typeof selectGrants>['executeTakeFirstOrThrow']>>;

export type StoredGrant = Grant & { facts: DecisionRequest };

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
    lineVersion: Number(row.line_version),
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
    outerEndedAt: row.outer_ended_at,
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
    facts: row.request_facts as unknown as DecisionRequest,
  };
}

export async function findGrant(db: Db, id: string): Promise<StoredGrant | undefined> {
  const row = await selectGrants(db).where('g.id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toGrant(row);
}

/** The newest grant that the agent has asked for with these terms, scopes as a set. */
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
 * The grant, its row locked until the transaction ends, and its agent's and resource's against a new epoch: whoever is
 * disabling the agent, or deleting the resource, comes before this or after it, and not in between.
 */
export async function lockGrant(tx: Tx, id: string): Promise<StoredGrant | undefined> {
  // The resource first, as whoever changes a catalogue does: then the two cannot wait for each other.
  await tx
    .selectFrom('resources')
    .select('id')
    .where('id', '=', tx.selectFrom('grants').select('resource_id').where('id', '=', id))
    .forShare()
    .execute();
  const row = await selectGrants(tx).where('g.id', '=', id).forUpdate('g').forShare('a').executeTakeFirst();
  return row === undefined ? undefined : toGrant(row);
}

export interface GrantFilter {
  /** As the grant is at `now`, not as its row says. */
  status?: GrantStatus | undefined;
  agentId?: string | undefined;
  ownerId?: string | undefined;
  resource?: string | undefined;
}

/** `effectiveStatus` in SQL, over grants g, agents a and resources r. */
export function effectiveStatusSql(now: Date) {
  return sql<string>`case
    when g.status not in ('pending', 'scheduled', 'active') then g.status
    when ${outerEndedAt} < ${ownEnd} then case g.status when 'pending' then 'denied' else 'revoked' end
    when ${outerEndedAt} is not null or ${ownEnd} <= ${now} then case g.status when 'pending' then 'lapsed' else 'expired' end
    when ${agentExpiresAt} <= ${now} then case g.status when 'pending' then 'lapsed' else 'expired' end
    when g.status = 'pending' then 'pending'
    when g.status = 'scheduled' and g.starts_at > ${now} then 'scheduled'
    else 'active' end`;
}

/** Up to `limit` grants, newest first, before `before`. */
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
      .where(sql<SqlBool>`${effectiveStatusSql(page.now)} = ${filter.status}`);
  }
  return (await query.execute()).map(toGrant);
}

/** What a waiting client compares: the versions of a grant, its agent and its resource, and of what it was handed down from. */
export async function readVersions(
  db: Db,
  ids: string[],
): Promise<(Parameters<typeof changeStamp>[0] & { id: string })[]> {
  const rows = await db
    .selectFrom('grants as g')
    .innerJoin('agents as a', 'a.id', 'g.agent_id')
    .innerJoin('resources as r', 'r.id', 'g.resource_id')
    .select(['g.id', 'g.version', 'a.version as agentVersion', 'r.version as resourceVersion'])
    .select(lineVersion.as('lineVersion'))
    .where(sql<SqlBool>`g.id = any(${ids}::text[])`)
    .execute();
  return rows.map((row) => ({ ...row, lineVersion: Number(row.lineVersion) }));
}

export type NewGrant = Pick<
  Grant,
  'id' | 'agentId' | 'resourceId' | 'scopes' | 'durationSeconds' | 'reason' | 'ticket' | 'requestDigest'
> &
  Pick<Grant, 'approvalsRequired' | 'policies' | 'ownerAtRequest' | 'agentEpoch' | 'resourceEpoch'> &
  Pick<Grant, 'requestedAt' | 'lapsesAt' | 'authorizationDetails'> & {
    facts: DecisionRequest;
    /** Given if policy permitted it at once. */
    period: { startsAt: Date; expiresAt: Date } | undefined;
    /** Given if it is handed down from another, of the token that it was got with. */
    handedDown?: HandedDown;
  };

export interface HandedDown {
  ancestors: string[];
  delegation: Delegation;
  /** The tokens that it was got with: the one that was shown, and those that this was got with. */
  subjects: string[];
  /** The approvals of those above it that count for it. */
  approvals: ApprovalFacts;
}

export async function insertGrant(tx: Tx, grant: NewGrant): Promise<void> {
  const { period, handedDown } = grant;
  const approvals = handedDown?.approvals ?? { approvals: 0, approver_groups: [] };
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
      ancestors: handedDown?.ancestors ?? [],
      delegation: handedDown === undefined ? null : JSON.stringify(handedDown.delegation),
      subjects: handedDown?.subjects ?? [],
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
