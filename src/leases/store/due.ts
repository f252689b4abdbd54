import { type SqlBool, sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import { bindInstants, isActive } from '../../grants/liveness-sql.ts';
import type { Lease } from '../lease.ts';
import type { Revocation } from './leases.ts';

/** What a worker does next with a lease: first its access ends, then its account is removed. */
export type Phase = 'disable' | 'clean-up';

const isIn: Record<Phase, string> = {
  disable: 'access_disabled_at is null',
  'clean-up': 'access_disabled_at is not null and cleaned_up_at is null',
};

/** The leases of a connection that a worker ends one after the other. */
export interface Queue {
  connectionId: string;
  phase: Phase;
}

/**
 * Returns the queues with leases that are due at `now`. Reads one index entry for each connection, however many leases
 * it has.
 */
export async function listDueQueues(db: Db, now: Date): Promise<Queue[]> {
  const ofPhase = (phase: Phase) => {
    const open = sql.raw(isIn[phase]);
    return sql`(
      with recursive connection as (
        (select connection_id as id from leases where ${open} order by connection_id limit 1)
        union all
        select (select l.connection_id from leases l where ${open} and l.connection_id > connection.id
                 order by l.connection_id limit 1)
          from connection where connection.id is not null)
      select connection.id as "connectionId", ${sql.lit(phase)} as phase from connection
       where exists (select from leases l where l.connection_id = connection.id and ${open} and l.next_attempt_at <= ${now}))`;
  };
  const { rows } = await sql<Queue>`${ofPhase('disable')} union all ${ofPhase('clean-up')}`.execute(db);
  return rows;
}

/** A lease that a worker has claimed. */
export interface ClaimedLease
  extends Pick<
    Lease,
    | 'id'
    | 'grantId'
    | 'agentId'
    | 'accountName'
    | 'createDeadlineAt'
    | 'activatedAt'
    | 'accessDisabledAt'
    | 'attempts'
  > {
  /** The reason for which it begins to be revoked with this claim; null if that has begun before. */
  begins: string | null;
}

export interface Claim extends Queue {
  now: Date;
  /** Another worker may claim the lease after this instant. */
  until: Date;
  /** Who revokes the lease if it has expired. */
  by: string;
}

/**
 * Claims the lease that has been due for longest. If it has expired, or its account was not made before the deadline, it
 * begins to be revoked. Workers that claim at the same time get different leases.
 */
export async function claimNext(
  tx: Tx,
  { connectionId, phase, now, until, by }: Claim,
): Promise<ClaimedLease | undefined> {
  const { rows } = await sql<ClaimedLease>`
    with due as (
      select id, status, case status when 'creating' then 'its account was not made in time'
                                     when 'active' then 'it expired' end as begins
        from leases
       where connection_id = ${connectionId} and ${sql.raw(isIn[phase])} and next_attempt_at <= ${now}
       order by next_attempt_at limit 1 for update skip locked)
    update leases l
       set status = case when due.begins is null then l.status else 'revoking' end,
           revoked_at = coalesce(l.revoked_at, ${now}), revoked_by = coalesce(l.revoked_by, ${by}),
           revoke_reason = coalesce(l.revoke_reason, due.begins),
           attempts = l.attempts + 1, next_attempt_at = ${until}
      from due where l.id = due.id
    returning l.id, l.grant_id as "grantId", l.agent_id as "agentId", l.account_name as "accountName",
      l.create_deadline_at as "createDeadlineAt", l.activated_at as "activatedAt",
      l.access_disabled_at as "accessDisabledAt", l.attempts, due.begins`.execute(tx);
  return rows[0];
}

/** Begins to revoke up to `limit` leases whose grants have ended before them. Returns them. */
export async function revokeUnderEndedGrants(
  tx: Tx,
  { at, by, reason }: Revocation,
  limit: number,
): Promise<Pick<Lease, 'id' | 'grantId' | 'agentId'>[]> {
  const { rows } = await sql<Pick<Lease, 'id' | 'grantId' | 'agentId'>>`
    with ended as (
      select l.id from leases l join grants g on g.id = l.grant_id
        join agents a on a.id = g.agent_id join resources r on r.id = g.resource_id
       where l.status in ('creating', 'active') and l.expires_at > ${at} and not ${bindInstants<SqlBool>(isActive, { now: at })}
       order by l.id limit ${limit} for update of l skip locked)
    update leases l
       set status = 'revoking', revoked_at = ${at}, revoked_by = ${by}, revoke_reason = ${reason}, next_attempt_at = ${at}
      from ended where l.id = ended.id
    returning l.id, l.grant_id as "grantId", l.agent_id as "agentId"`.execute(tx);
  return rows;
}

/** The result of an attempt, which the row takes over. Null members stay as they are, except the error. */
export interface Attempted {
  accessDisabledAt: Date | null;
  cleanedUpAt: Date | null;
  ownedObjects: readonly string[] | null;
  isRevoked: boolean;
  nextAttemptAt: Date | null;
  error: string | null;
}

/**
 * Writes the result of an attempt. Returns false if the row did not take it over, because another worker had claimed the
 * lease meanwhile and has come as far.
 */
export async function recordAttempt(tx: Tx, id: string, attempted: Attempted): Promise<boolean> {
  const { accessDisabledAt, cleanedUpAt, ownedObjects, isRevoked, nextAttemptAt, error } = attempted;
  let update = tx
    .updateTable('leases')
    .set({ next_attempt_at: nextAttemptAt, last_error: error })
    .where('id', '=', id)
    .where('status', 'in', ['revoking', 'revoked'])
    .where('cleaned_up_at', 'is', null);
  if (accessDisabledAt !== null) {
    update = update.set({ access_disabled_at: accessDisabledAt }).where('access_disabled_at', 'is', null);
  }
  if (cleanedUpAt !== null) update = update.set({ cleaned_up_at: cleanedUpAt });
  if (ownedObjects !== null) update = update.set({ owned_objects: [...ownedObjects] });
  if (isRevoked) update = update.set({ status: 'revoked' });
  if (error === null) update = update.set({ attempts: 0 });
  return (await update.executeTakeFirst()).numUpdatedRows === 1n;
}
