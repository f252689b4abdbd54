import { sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import { effectiveStatusSql } from '../store.ts';

export interface Swept {
  id: string;
  agentId: string;
  status: 'expired' | 'revoked' | 'lapsed' | 'denied';
}

const batchRows = 500;

/** Reads the batch that is due through the partial index on just those rows; what another replica holds is its. */
export async function sweepExpired(tx: Tx, sweep: { now: Date; by: string }): Promise<Swept[]> {
  const result = await sql<Swept>`
    with due as (
      select id from grants
       where status in ('active', 'scheduled') and expires_at <= ${sweep.now}
       order by expires_at limit ${batchRows} for update skip locked
    )
    update grants g
       set status = 'expired', ended_at = g.expires_at, ended_by = ${sweep.by}
      from due
     where g.id = due.id
    returning g.id, g.agent_id as "agentId", g.status`.execute(tx);
  return result.rows;
}

export async function sweepLapsed(tx: Tx, sweep: { now: Date; by: string }): Promise<Swept[]> {
  const result = await sql<Swept>`
    with due as (
      select id from grants
       where status = 'pending' and lapses_at <= ${sweep.now}
       order by lapses_at limit ${batchRows} for update skip locked
    )
    update grants g
       set status = 'lapsed', ended_at = g.lapses_at, ended_by = ${sweep.by}
      from due
     where g.id = due.id
    returning g.id, g.agent_id as "agentId", g.status`.execute(tx);
  return result.rows;
}

/**
 * Ends what a raised epoch has ended already. Starts from the few agents and resources whose epoch was ever raised, so
 * that the open grants of all others are not read. What its own time has ended is left to that.
 */
export async function sweepOutdated(tx: Tx, sweep: { now: Date; by: string }): Promise<Swept[]> {
  const result = await sql<Swept>`
    with outdated as (
      select g.id from agents a join grants g on g.agent_id = a.id
       where a.epoch > 1 and g.status in ('pending', 'scheduled', 'active') and g.agent_epoch <> a.epoch
         and case g.status when 'pending' then g.lapses_at else g.expires_at end > ${sweep.now}
      union
      select g.id from resources r join grants g on g.resource_id = r.id
       where r.epoch > 1 and g.status in ('pending', 'scheduled', 'active') and g.resource_epoch <> r.epoch
         and case g.status when 'pending' then g.lapses_at else g.expires_at end > ${sweep.now}
      limit ${batchRows}
    ), due as (
      select id from grants
       where id in (select id from outdated) and status in ('pending', 'scheduled', 'active')
         and case status when 'pending' then lapses_at else expires_at end > ${sweep.now} for update skip locked
    )
    update grants g
       set status = case g.status when 'pending' then 'denied' else 'revoked' end,
           ended_at = ${sweep.now}, ended_by = ${sweep.by}, end_reason = 'its agent or resource was disabled or removed'
      from due
     where g.id = due.id
    returning g.id, g.agent_id as "agentId", g.status`.execute(tx);
  return result.rows;
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
