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

/**
 * - `first`: leases that no worker has tried to end in this phase.
 * - `again`: leases of which an attempt has failed, or was lost with its worker.
 */
export type Turn = 'first' | 'again';

const isOfTurn: Record<Turn, string> = { first: 'attempts = 0', again: 'attempts > 0' };

export interface Claim extends Queue {
  turn: Turn;
  now: Date;
  /** Another worker may claim the leases after this instant. */
  until: Date;
  /** The most leases to claim. */
  limit: number;
  /** Who revokes the leases that have expired. */
  by: string;
}

/**
 * Claims the leases that have been due for longest. Those that have expired, or whose accounts were not made before the
 * deadline, begin to be revoked. Workers that claim at the same time get different leases.
 */
export async function claimDue(
  tx: Tx,
  { connectionId, phase, turn, now, until, limit, by }: Claim,
): Promise<ClaimedLease[]> {
  const { rows } = await sql<ClaimedLease>`
    with due as (
      select id, status, case status when 'creating' then 'its account was not made in time'
                                     when 'active' then 'it expired' end as begins
        from leases
       where connection_id = ${connectionId} and ${sql.raw(isIn[phase])} and ${sql.raw(isOfTurn[turn])}
         and next_attempt_at <= ${now}
       order by next_attempt_at limit ${limit} for update skip locked)
    update leases l
       set status = case when due.begins is null then l.status else 'revoking' end,
           revoked_at = coalesce(l.revoked_at, ${now}), revoked_by = coalesce(l.revoked_by, ${by}),
           revoke_reason = coalesce(l.revoke_reason, due.begins),
           attempts = l.attempts + 1, next_attempt_at = ${until}
      from due where l.id = due.id
    returning l.id, l.grant_id as "grantId", l.agent_id as "agentId", l.account_name as "accountName",
      l.create_deadline_at as "createDeadlineAt", l.activated_at as "activatedAt",
      l.access_disabled_at as "accessDisabledAt", l.attempts, due.begins`.execute(tx);
  return rows;
}

/**
 * Whether lease l, which is found by its id, is not cleaned up. Not written as `cleaned_up_at is null`: the planner could then
 * use a partial index and read every lease that waits.
 */
const isNotCleanedUp = sql`num_nulls(l.cleaned_up_at) = 1`;

/** Claims that still hold are extended, so that no other worker makes the same attempt meanwhile. */
export async function extendClaims(
  db: Db,
  claims: readonly Pick<ClaimedLease, 'id' | 'attempts'>[],
  until: Date,
): Promise<void> {
  await sql`
    update leases l set next_attempt_at = ${until}
      from unnest(${claims.map(({ id }) => id)}::text[], ${claims.map(({ attempts }) => attempts)}::int[]) as c (id, attempts)
     where l.id = c.id and l.attempts = c.attempts and ${isNotCleanedUp}`.execute(db);
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
export interface Attempted extends Pick<ClaimedLease, 'id' | 'attempts'> {
  accessDisabledAt: Date | null;
  cleanedUpAt: Date | null;
  ownedObjects: readonly string[] | null;
  isRevoked: boolean;
  nextAttemptAt: Date | null;
  error: string | null;
}

/**
 * Writes the results of attempts. Returns the ids of the leases that took them over: not those that another worker has
 * claimed meanwhile.
 */
export async function recordAttempts(tx: Tx, attempted: readonly Attempted[]): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    update leases l
       set next_attempt_at = r."nextAttemptAt", last_error = r.error,
           access_disabled_at = coalesce(l.access_disabled_at, r."accessDisabledAt"),
           cleaned_up_at = r."cleanedUpAt",
           owned_objects = coalesce(r."ownedObjects", l.owned_objects),
           status = case when r."isRevoked" then 'revoked' else l.status end,
           attempts = case when r.error is null then 0 else l.attempts end
      from jsonb_to_recordset(${JSON.stringify(attempted)}::jsonb) as r (id text, attempts int,
        "accessDisabledAt" timestamptz, "cleanedUpAt" timestamptz, "ownedObjects" text[], "isRevoked" boolean,
        "nextAttemptAt" timestamptz, error text)
     where l.id = r.id and l.attempts = r.attempts and l.status in ('revoking', 'revoked') and ${isNotCleanedUp}
    returning l.id`.execute(tx);
  return rows.map(({ id }) => id);
}
