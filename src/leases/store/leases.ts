import { type RawBuilder, sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import type { EngineKind } from '../../engines/terms.ts';
import { bindInstants, isActive } from '../../grants/liveness-sql.ts';
import type { Lease, LeaseStatus, NewLease } from '../lease.ts';

/** Selects leases, each with whether its grant is active at `now`. */
function selectLeases(db: Db, now: Date) {
  return db
    .selectFrom('leases as l')
    .innerJoin('grants as g', 'g.id', 'l.grant_id')
    .innerJoin('agents as a', 'a.id', 'g.agent_id')
    .innerJoin('resources as r', 'r.id', 'g.resource_id')
    .select(['l.id', 'l.grant_id', 'l.agent_id', 'l.resource_id', 'l.connection_id', 'l.account_name'])
    .select('r.kind')
    .select(['l.status', 'l.created_at', 'l.create_deadline_at', 'l.activated_at', 'l.expires_at'])
    .select(['l.revoked_at', 'l.revoked_by', 'l.revoke_reason', 'l.access_disabled_at', 'l.cleaned_up_at'])
    .select(['l.owned_objects', 'l.attempts', 'l.next_attempt_at', 'l.last_error'])
    .select(bindInstants<boolean>(isActive, { now }).as('is_grant_active'));
}

type Row = Awaited<ReturnType<ReturnType<typeof selectLeases>['executeTakeFirstOrThrow']>>;

function toLease(row: Row): Lease {
  return {
    id: row.id,
    grantId: row.grant_id,
    agentId: row.agent_id,
    resourceId: row.resource_id,
    connectionId: row.connection_id,
    kind: row.kind as EngineKind,
    status: row.status as LeaseStatus,
    isGrantActive: row.is_grant_active,
    accountName: row.account_name,
    createdAt: row.created_at,
    createDeadlineAt: row.create_deadline_at,
    activatedAt: row.activated_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    revokedBy: row.revoked_by,
    revokeReason: row.revoke_reason,
    accessDisabledAt: row.access_disabled_at,
    cleanedUpAt: row.cleaned_up_at,
    ownedObjects: row.owned_objects,
    attempts: row.attempts,
    nextAttemptAt: row.next_attempt_at,
    lastError: row.last_error,
  };
}

export async function findLease(db: Db, id: string, now: Date): Promise<Lease | undefined> {
  const row = await selectLeases(db, now).where('l.id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toLease(row);
}

/** Returns the lease, locked until the transaction ends. */
export async function lockLease(tx: Tx, id: string, now: Date): Promise<Lease | undefined> {
  const row = await selectLeases(tx, now).where('l.id', '=', id).forUpdate('l').executeTakeFirst();
  return row === undefined ? undefined : toLease(row);
}

export interface LeaseFilter {
  agentId?: string | undefined;
  grantId?: string | undefined;
  resourceId?: string | undefined;
  /** The stored status. */
  status?: LeaseStatus | undefined;
}

/** Lists up to `limit` leases with ids below `before`, newest first. */
export async function listLeases(
  db: Db,
  filter: LeaseFilter,
  page: { now: Date; limit: number; before?: string | undefined },
): Promise<Lease[]> {
  let query = selectLeases(db, page.now).orderBy('l.id', 'desc').limit(page.limit);
  if (page.before !== undefined) query = query.where('l.id', '<', page.before);
  if (filter.agentId !== undefined) query = query.where('l.agent_id', '=', filter.agentId);
  if (filter.grantId !== undefined) query = query.where('l.grant_id', '=', filter.grantId);
  if (filter.resourceId !== undefined) query = query.where('l.resource_id', '=', filter.resourceId);
  if (filter.status !== undefined) query = query.where('l.status', '=', filter.status);
  return (await query.execute()).map(toLease);
}

/**
 * The statement that records the intent to make an account. A worker destroys it after the deadline if it does not
 * become active.
 */
export function insertion(lease: NewLease): RawBuilder<unknown> {
  return sql`insert into leases (id, grant_id, agent_id, resource_id, connection_id, account_name, status,
      created_at, create_deadline_at, expires_at, next_attempt_at)
    values (${lease.id}, ${lease.grantId}, ${lease.agentId}, ${lease.resourceId}, ${lease.connectionId},
      ${lease.accountName}, 'creating', ${lease.createdAt}, ${lease.createDeadlineAt}, ${lease.expiresAt},
      ${lease.createDeadlineAt})
    returning id`;
}

export interface OpenLeases {
  ofAgent: number;
  ofResource: number;
  total: number;
}

/**
 * Counts the leases whose accounts exist or may exist, also those without access that own objects. No other transaction can count until this one ends, so that concurrent
 * requests cannot exceed a limit.
 */
export async function countOpenLeases(
  tx: Tx,
  { agentId, resourceId }: Pick<Lease, 'agentId' | 'resourceId'>,
): Promise<OpenLeases> {
  await sql`select pg_advisory_xact_lock(hashtext('hallpass.leases'))`.execute(tx);
  const count = tx.fn.countAll<number>();
  const row = await tx
    .selectFrom('leases')
    .select(count.as('total'))
    .select(count.filterWhere('resource_id', '=', resourceId).as('of_resource'))
    .select(
      count.filterWhere('resource_id', '=', resourceId).filterWhere('agent_id', '=', agentId).as('of_agent'),
    )
    .where('cleaned_up_at', 'is', null)
    .executeTakeFirstOrThrow();
  return { ofAgent: Number(row.of_agent), ofResource: Number(row.of_resource), total: Number(row.total) };
}

/**
 * The statement that makes a lease active whose account was made. It changes no row if the lease was revoked meanwhile,
 * its deadline has passed, or it or its grant has ended: the account must then be destroyed.
 */
export function activation({ id, at }: { id: string; at: Date }): RawBuilder<unknown> {
  return sql`update leases l set status = 'active', activated_at = ${at}, next_attempt_at = l.expires_at
      from grants g join agents a on a.id = g.agent_id join resources r on r.id = g.resource_id
     where l.id = ${id} and l.status = 'creating' and l.create_deadline_at > ${at} and l.expires_at > ${at}
       and g.id = l.grant_id and ${bindInstants(isActive, { now: at })}
    returning l.id`;
}

/** Moves the end of an active lease. */
export async function extendLease(
  tx: Tx,
  { id, expiresAt }: { id: string; expiresAt: Date },
): Promise<boolean> {
  const result = await tx
    .updateTable('leases')
    .set({ expires_at: expiresAt, next_attempt_at: expiresAt })
    .where('id', '=', id)
    .where('status', '=', 'active')
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

export interface Revocation {
  at: Date;
  by: string;
  reason: string;
}

/** Begins to revoke a lease that is not revoked yet. Returns false if that has begun before. */
export async function beginRevoking(tx: Tx, id: string, { at, by, reason }: Revocation): Promise<boolean> {
  const result = await tx
    .updateTable('leases')
    .set({ status: 'revoking', revoked_at: at, revoked_by: by, revoke_reason: reason, next_attempt_at: at })
    .where('id', '=', id)
    .where('status', 'in', ['creating', 'active'])
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** Lists the grants under which there are leases that are not being revoked. */
export async function listUsedGrants(db: Db): Promise<string[]> {
  const rows = await db
    .selectFrom('leases')
    .select('grant_id')
    .distinct()
    .where('status', 'in', ['creating', 'active'])
    .execute();
  return rows.map((row) => row.grant_id);
}

/** Lists the leases under a grant that are not being revoked. */
export async function listUsableOf(db: Db, grantId: string): Promise<Pick<Lease, 'id' | 'agentId'>[]> {
  return db
    .selectFrom('leases')
    .select(['id', 'agent_id as agentId'])
    .where('grant_id', '=', grantId)
    .where('status', 'in', ['creating', 'active'])
    .execute();
}
