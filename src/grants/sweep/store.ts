import { type RawBuilder, sql } from 'kysely';
import { systemActor } from '../../audit/audit-event.ts';
import type { Db, Tx } from '../../db/database.ts';
import { endDue } from '../endings/store/end-due.ts';
import * as liveness from '../liveness-sql.ts';
import { bindInstants } from '../liveness-sql.ts';

const epochsEndedAt = bindInstants<Date | null>(liveness.epochsEndedAt);
const ownEnd = bindInstants<Date>(liveness.ownEnd);

/** One batch of a sweep. */
export interface Batch {
  now: Date;
  /** The name of the job, for the audit events. */
  by: string;
  /**
   * The last expiry or lapse in the previous batch: this one begins there. While an older transaction runs, the index
   * keeps the entries of grants that earlier batches have ended; without this bound each batch would read all of them
   * again.
   */
  from: Date;
  /** Ids for the events, one for each grant that the batch may end. */
  eventIds: string[];
}

export interface Swept {
  rows: number;
  /** Where the next batch begins; null if the batch found no grant that it could lock. */
  until: Date | null;
}

const endedBeforeReason =
  'its agent had expired or was disabled or deleted, its resource was deleted, an ancestor or subject token ended, or all grants were ended';

/** The grants that a sweep ends because their own time is over. */
interface DueGrants {
  /** The column with the instant at which the grant expires or lapses. */
  column: 'expires_at' | 'lapses_at';
  isOpen: RawBuilder<unknown>;
  /** The status of a grant whose own time is over. */
  over: 'expired' | 'lapsed';
  /** The status of a grant that ended before its own time was over, with something on which it depends. */
  endedBefore: 'revoked' | 'denied';
}

/**
 * Ends the next grants whose own time is over. A partial index has these rows; rows that another transaction has locked
 * are skipped. If something on which the grant depends ended earlier, that is written as its end: such a grant need not
 * wait for another sweep. The ends of epochs are read by primary key, because every row needs them.
 */
async function sweepDue(
  tx: Tx,
  batch: Batch,
  { column, isOpen, over, endedBefore }: DueGrants,
): Promise<Swept> {
  const own = sql.ref(`g.${column}`);
  const foundation = liveness.epochsEndedAtBy({
    agent: '(select a.epoch_ends[g.agent_epoch::integer] from agents a where a.id = g.agent_id)',
    resource: '(select r.epoch_ends[g.resource_epoch::integer] from resources r where r.id = g.resource_id)',
  });
  const ctes = sql`found as (
    select g.id, ${own} as own, least(${own}, ${sql.raw(foundation)}) as at
      from grants g
     where ${isOpen} and ${own} <= ${batch.now} and ${own} >= ${batch.from}
     order by ${own} limit ${batch.eventIds.length} for update skip locked
  ), due as (
    select id, at, case when at < own then ${sql.lit(endedBefore)} else ${sql.lit(over)} end as status,
      case when at < own then ${endedBeforeReason} end as reason from found)`;
  // The next batch begins where this one ended, in the order of the index.
  const answer = sql`json_build_object('rows', (select count(*) from ended), 'until', (select max(own) from found))`;
  const swept = await endDue<{ rows: number; until: string | null }>(tx, endedBy(batch), { ctes, answer });
  return { rows: swept?.rows ?? 0, until: toDate(swept?.until) };
}

const toDate = (text: string | null | undefined): Date | null =>
  text === null || text === undefined ? null : new Date(text);

const endedBy = ({ by, now, eventIds }: Omit<Batch, 'from'>) => ({ actor: systemActor(by), now, eventIds });

export function sweepExpired(tx: Tx, batch: Batch): Promise<Swept> {
  const isOpen = sql`g.status in ('active', 'scheduled')`;
  return sweepDue(tx, batch, { column: 'expires_at', isOpen, over: 'expired', endedBefore: 'revoked' });
}

export function sweepLapsed(tx: Tx, batch: Batch): Promise<Swept> {
  const isOpen = sql`g.status = 'pending'`;
  return sweepDue(tx, batch, { column: 'lapses_at', isOpen, over: 'lapsed', endedBefore: 'denied' });
}

/** What has an epoch that ends grants. */
export type EpochKind = 'agent' | 'resource';

/** An agent or a resource whose epoch was raised to this one. */
export interface EndedEpoch {
  id: string;
  epoch: number;
}

/**
 * Lists the agents or resources, in order of id after `after`, whose epoch was raised and that may still have open
 * grants of an earlier epoch.
 */
export async function listEndedEpochs(
  tx: Tx,
  { kind, after, limit }: { kind: EpochKind; after: string; limit: number },
): Promise<EndedEpoch[]> {
  const table = { agent: sql`agents`, resource: sql`resources` }[kind];
  const result = await sql<EndedEpoch>`
    select e.subject_id as id, e.epoch from ended_epochs e
     where e.subject_id > ${after} and exists (select from ${table} t where t.id = e.subject_id)
     order by e.subject_id limit ${limit}`.execute(tx);
  return result.rows;
}

/**
 * Deletes these rows of `ended_epochs`. Their agents and resources must have no open grant of an earlier epoch. Keeps a
 * row whose epoch was raised again meanwhile.
 */
export async function forgetEndedEpochs(tx: Tx, ended: readonly EndedEpoch[]): Promise<void> {
  const [ids, epochs] = [ended.map(({ id }) => id), ended.map(({ epoch }) => epoch)];
  await sql`
    delete from ended_epochs e using unnest(${ids}::text[], ${epochs}::bigint[]) as x (id, epoch)
     where e.subject_id = x.id and e.epoch = x.epoch`.execute(tx);
}

/** A grant of an agent or resource. */
export interface GrantOf {
  /** The id of the agent or resource. */
  of: string;
  grant: string;
}

export interface OutdatedSwept {
  rows: number;
  /** The last grant that was read, even if another transaction has locked it; null if none is left. */
  until: GrantOf | null;
}

/**
 * Writes as ended the first outdated grants after `after`: those that a raised epoch of these agents or resources (in
 * order of id) has ended, one agent or resource after the other. An index has the grants of each in the order of ids,
 * so that none is read twice. A grant that expired or lapsed before its epoch ended is left to `sweepDue`.
 */
export async function sweepOutdated(
  tx: Tx,
  batch: Omit<Batch, 'from'>,
  { kind, ids, after }: { kind: EpochKind; ids: readonly string[]; after: GrantOf },
): Promise<OutdatedSwept> {
  const isOlder = {
    agent: sql`g.agent_id = s.id and g.agent_epoch <> a.epoch`,
    resource: sql`g.resource_id = s.id and g.resource_epoch <> r.epoch`,
  }[kind];
  const limit = sql`limit ${batch.eventIds.length}`;
  const outdated = sql`outdated as materialized (
    select s.id as of_id, o.id, o.at from unnest(${ids}::text[]) as s (id), lateral (
      select g.id, ${epochsEndedAt} as at
        from grants g join agents a on a.id = g.agent_id join resources r on r.id = g.resource_id
       where ${sql.raw(liveness.isOpen)} and ${isOlder}
         and g.id > case when s.id = ${after.of} then ${after.grant} else '' end
         and ${epochsEndedAt} < ${ownEnd}
       order by g.id ${limit}) o
     where s.id >= ${after.of} ${limit}
  )`;
  const ctes = sql`${outdated}, due as (
    select g.id, o.at, case g.status when 'pending' then 'denied' else 'revoked' end as status, ${endedBeforeReason} as reason
      from grants g join outdated o on o.id = g.id
     where ${sql.raw(liveness.isOpen)} for update of g skip locked)`;
  const answer = sql`json_build_object('rows', (select count(*) from ended), 'until', (
    select json_build_object('of', of_id, 'grant', id) from outdated order by of_id desc, id desc limit 1))`;
  return (await endDue<OutdatedSwept>(tx, endedBy(batch), { ctes, answer })) ?? { rows: 0, until: null };
}

/** Counts the open grants by effective status. Reads each of them, through the partial index on open grants. */
export async function countByStatus(db: Db, now: Date): Promise<Record<string, number>> {
  const counted = await sql<{ status: string; n: number }>`
    select ${bindInstants(liveness.effectiveStatus, { now })} as status, count(*)::integer as n
      from grants g join agents a on a.id = g.agent_id join resources r on r.id = g.resource_id
     where ${sql.raw(liveness.isOpen)} group by 1`.execute(db);
  return Object.fromEntries(counted.rows.map(({ status, n }) => [status, n]));
}

/** Returns the seconds since the oldest expiry that has not been written; 0 without such an expiry. */
export async function readSweepLag(db: Db, now: Date): Promise<number> {
  const oldest = await sql<{ due: Date | null }>`
    select min(expires_at) as due from grants
     where status in ('active', 'scheduled') and expires_at <= ${now}`.execute(db);
  const due = oldest.rows[0]?.due ?? null;
  return due === null ? 0 : (now.getTime() - due.getTime()) / 1000;
}
