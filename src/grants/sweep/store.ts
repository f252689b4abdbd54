import { type RawBuilder, sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import { effectiveStatusSql, epochEndedAt } from '../store.ts';

/** One batch of a sweep. */
export interface Batch {
  now: Date;
  /** The job that ends them. */
  by: string;
  /**
   * Where the batch before ended. The index still has entries of what that one ended, and while some other transaction
   * is older, each batch would read all of them again.
   */
  from: Date;
  /** Ids for the events, one for each grant that the batch may end. */
  eventIds: string[];
}

export interface Swept {
  rows: number;
  /** Where the next batch begins; null: nothing was left. */
  until: Date | null;
}

/** Whether grant g was ended by an epoch before its own time `end`: read by keys, because it is asked of every row that is due. */
const endedByEpochBefore = (end: RawBuilder<unknown>) => sql`(
  (select a.epoch_ends[g.agent_epoch::integer] from agents a where a.id = g.agent_id) < ${end}
  or (select r.epoch_ends[g.resource_epoch::integer] from resources r where r.id = g.resource_id) < ${end})`;

/**
 * Ends the grants that `due` locks (as id and the instant `at` of their end) and records it, in one statement: of a
 * million grants none is sent to and fro. What each status is, its event is called.
 */
async function end(
  tx: Tx,
  { by, now, eventIds }: Batch,
  { due, set }: { due: RawBuilder<unknown>; set: RawBuilder<unknown> },
): Promise<Swept> {
  const result = await sql<Swept>`
    with ${due}, ended as (
      update grants g set ${set}, ended_at = due.at, ended_by = ${by} from due where g.id = due.id
      returning g.id, g.agent_id, g.status, due.at
    ), numbered as (
      select id, agent_id, status, row_number() over () as n from ended
    ), recorded as (
      insert into audit_events (id, at, type, outcome, actor_kind, actor_id, agent_id, grant_id, details)
      select event.id, ${now}, 'grant.' || e.status, 'success', 'system', ${by}, e.agent_id, e.id, '{}'
        from numbered e join unnest(${eventIds}::text[]) with ordinality as event (id, n) using (n)
    )
    select count(*)::integer as rows, max(at) as until from ended`.execute(tx);
  return result.rows[0] ?? { rows: 0, until: null };
}

/** Reads the batch that is due through the partial index on just those rows; what another replica holds is its. */
export function sweepExpired(tx: Tx, batch: Batch): Promise<Swept> {
  const due = sql`due as (
    select g.id, g.expires_at as at from grants g
     where status in ('active', 'scheduled') and expires_at <= ${batch.now} and expires_at >= ${batch.from}
       and ${endedByEpochBefore(sql`g.expires_at`)} is not true
     order by expires_at limit ${batch.eventIds.length} for update skip locked)`;
  return end(tx, batch, { due, set: sql`status = 'expired'` });
}

export function sweepLapsed(tx: Tx, batch: Batch): Promise<Swept> {
  const due = sql`due as (
    select g.id, g.lapses_at as at from grants g
     where status = 'pending' and lapses_at <= ${batch.now} and lapses_at >= ${batch.from}
       and ${endedByEpochBefore(sql`g.lapses_at`)} is not true
     order by lapses_at limit ${batch.eventIds.length} for update skip locked)`;
  return end(tx, batch, { due, set: sql`status = 'lapsed'` });
}

/**
 * Ends what a raised epoch has ended already. Starts from the few agents and resources whose epoch was ever raised, so
 * that the open grants of all others are not read. What its own time had ended before is left to that.
 */
export function sweepOutdated(tx: Tx, batch: Batch): Promise<Swept> {
  const ownEnd = sql`case g.status when 'pending' then g.lapses_at else g.expires_at end`;
  const due = sql`outdated as (
    select g.id, ${epochEndedAt} as at
      from agents a join grants g on g.agent_id = a.id join resources r on r.id = g.resource_id
     where a.epoch > 1 and g.status in ('pending', 'scheduled', 'active') and g.agent_epoch <> a.epoch
       and ${epochEndedAt} < ${ownEnd}
    union
    select g.id, ${epochEndedAt} as at
      from resources r join grants g on g.resource_id = r.id join agents a on a.id = g.agent_id
     where r.epoch > 1 and g.status in ('pending', 'scheduled', 'active') and g.resource_epoch <> r.epoch
       and ${epochEndedAt} < ${ownEnd}
    limit ${batch.eventIds.length}
  ), due as (
    select g.id, o.at from grants g join outdated o on o.id = g.id
     where g.status in ('pending', 'scheduled', 'active') for update of g skip locked)`;
  const set = sql`status = case g.status when 'pending' then 'denied' else 'revoked' end,
    end_reason = 'its agent or resource was disabled or removed'`;
  return end(tx, batch, { due, set });
}

export interface OpenGrants {
  byStatus: Record<string, number>;
  sweepLagSeconds: number;
}

/** How many open grants there are, by what they are now; only the partial indexes on open grants are read. */
export async function countByStatus(db: Db, now: Date): Promise<OpenGrants> {
  const counted = await sql<{ status: string; n: number }>`
    select ${effectiveStatusSql(now)} as status, count(*)::integer as n
      from grants g join agents a on a.id = g.agent_id join resources r on r.id = g.resource_id
     where g.status in ('pending', 'scheduled', 'active') group by 1`.execute(db);
  const oldest = await sql<{ due: Date | null }>`
    select min(expires_at) as due from grants
     where status in ('active', 'scheduled') and expires_at <= ${now}`.execute(db);
  const due = oldest.rows[0]?.due ?? null;
  return {
    byStatus: Object.fromEntries(counted.rows.map(({ status, n }) => [status, n])),
    sweepLagSeconds: due === null ? 0 : (now.getTime() - due.getTime()) / 1000,
  };
}
