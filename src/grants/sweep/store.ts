import { type RawBuilder, sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import { lineEndedAt } from '../../db/line-ended-at.ts';
import { effectiveStatusSql, outerEndedAt, ownEnd } from '../store.ts';

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

/**
 * Ends the grants that `due` locks (as id and the instant `at` of their end) and records it, in one statement: of a
 * million grants none is sent to and fro. What each status is, its event is called.
 */
async function end<Answer extends Swept | OutdatedSwept>(
  tx: Tx,
  { by, now, eventIds }: Omit<Batch, 'from'>,
  { due, set, until }: Record<'due' | 'set' | 'until', RawBuilder<unknown>>,
): Promise<Answer | undefined> {
  const result = await sql<Answer>`
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
    select count(*)::integer as rows, ${until} as until from ended`.execute(tx);
  return result.rows[0];
}

const outdatedReason =
  'its agent or resource was disabled or removed, what it was handed down from ended or was taken back, or everything was ended';

interface Kind {
  /** When the time of such a grant is over. */
  column: 'expires_at' | 'lapses_at';
  isOpen: RawBuilder<unknown>;
  /** What becomes of it then, and what it became if an epoch had ended it before. */
  over: 'expired' | 'lapsed';
  outdated: 'revoked' | 'denied';
}

/**
 * Reads the batch that is due through the partial index on just those rows; what another replica holds is its. What an
 * epoch had ended before is written down as that, whoever has missed it: no grant stays open in its row for longer than its
 * own time. The epochs' ends are read by keys, because they are asked for with every row.
 */
async function sweepDue(tx: Tx, batch: Batch, { column, isOpen, over, outdated }: Kind): Promise<Swept> {
  const own = sql.ref(`g.${column}`);
  const due = sql`due as (
    select g.id, ${own} as own, least(${own},
        (select a.epoch_ends[g.agent_epoch::integer] from agents a where a.id = g.agent_id),
        (select r.epoch_ends[g.resource_epoch::integer] from resources r where r.id = g.resource_id), ${lineEndedAt}) as at
      from grants g
     where ${isOpen} and ${own} <= ${batch.now} and ${own} >= ${batch.from}
     order by ${own} limit ${batch.eventIds.length} for update skip locked)`;
  const set = sql`status = case when due.at < due.own then ${sql.lit(outdated)} else ${sql.lit(over)} end,
    end_reason = case when due.at < due.own then ${outdatedReason} end`;
  // The next batch begins where this one ended, by the column that the index is in the order of.
  const until = sql`(select max(own) from due)`;
  return (await end<Swept>(tx, batch, { due, set, until })) ?? { rows: 0, until: null };
}

export function sweepExpired(tx: Tx, batch: Batch): Promise<Swept> {
  const isOpen = sql`g.status in ('active', 'scheduled')`;
  return sweepDue(tx, batch, { column: 'expires_at', isOpen, over: 'expired', outdated: 'revoked' });
}

export function sweepLapsed(tx: Tx, batch: Batch): Promise<Swept> {
  const isOpen = sql`g.status = 'pending'`;
  return sweepDue(tx, batch, { column: 'lapses_at', isOpen, over: 'lapsed', outdated: 'denied' });
}

export type SubjectKind = 'agent' | 'resource';

/** An agent or a resource whose epoch was raised to this one. */
export interface EndedEpoch {
  subjectId: string;
  epoch: number;
}

/** Of the agents or resources whose grants from before a raised epoch may not have been looked at, the first behind `after`. */
export async function listEndedEpochs(
  tx: Tx,
  { kind, after, limit }: { kind: SubjectKind; after: string; limit: number },
): Promise<EndedEpoch[]> {
  const subjects = { agent: sql`agents`, resource: sql`resources` }[kind];
  const result = await sql<EndedEpoch>`
    select e.subject_id as "subjectId", e.epoch from ended_epochs e
     where e.subject_id > ${after} and exists (select from ${subjects} s where s.id = e.subject_id)
     order by e.subject_id limit ${limit}`.execute(tx);
  return result.rows;
}

/** Nothing of before these epochs is open. One that was raised again since stays. */
export async function forgetEndedEpochs(tx: Tx, ended: readonly EndedEpoch[]): Promise<void> {
  const [ids, epochs] = [ended.map(({ subjectId }) => subjectId), ended.map(({ epoch }) => epoch)];
  await sql`
    delete from ended_epochs e using unnest(${ids}::text[], ${epochs}::bigint[]) as x (id, epoch)
     where e.subject_id = x.id and e.epoch = x.epoch`.execute(tx);
}

/** A grant of a subject. */
export interface GrantOf {
  subject: string;
  grant: string;
}

export interface OutdatedSwept {
  rows: number;
  /** The last grant that was looked at, also if another transaction holds it; null: none is left. */
  until: GrantOf | null;
}

/**
 * Ends what a raised epoch of these subjects (in order) has ended already, the first grants behind `after`, one subject
 * after the other: each has its grants in the order of their ids in an index, so that none is read twice. What its own time
 * had ended before is left to that.
 */
export async function sweepOutdated(
  tx: Tx,
  batch: Omit<Batch, 'from'>,
  { kind, subjectIds, after }: { kind: SubjectKind; subjectIds: readonly string[]; after: GrantOf },
): Promise<OutdatedSwept> {
  const ofSubject = {
    agent: sql`g.agent_id = s.id and g.agent_epoch <> a.epoch`,
    resource: sql`g.resource_id = s.id and g.resource_epoch <> r.epoch`,
  }[kind];
  const limit = sql`limit ${batch.eventIds.length}`;
  const outdated = sql`outdated as materialized (
    select s.id as subject, o.id, o.at from unnest(${subjectIds}::text[]) as s (id), lateral (
      select g.id, ${outerEndedAt} as at
        from grants g join agents a on a.id = g.agent_id join resources r on r.id = g.resource_id
       where g.status in ('pending', 'scheduled', 'active') and ${ofSubject}
         and g.id > case when s.id = ${after.subject} then ${after.grant} else '' end
         and ${outerEndedAt} < ${ownEnd}
       order by g.id ${limit}) o
     where s.id >= ${after.subject} ${limit}
  )`;
  const due = sql`${outdated}, due as (
    select g.id, o.at from grants g join outdated o on o.id = g.id
     where g.status in ('pending', 'scheduled', 'active') for update of g skip locked)`;
  const set = sql`status = case g.status when 'pending' then 'denied' else 'revoked' end,
    end_reason = ${outdatedReason}`;
  const until = sql`(select json_build_object('subject', subject, 'grant', id)
    from outdated order by subject desc, id desc limit 1)`;
  const ended = await end<OutdatedSwept>(tx, batch, { due, set, until });
  return ended ?? { rows: 0, until: null };
}

/** How many open grants there are, by what they are now: every one is read, through the partial index on them. */
export async function countByStatus(db: Db, now: Date): Promise<Record<string, number>> {
  const counted = await sql<{ status: string; n: number }>`
    select ${effectiveStatusSql(now)} as status, count(*)::integer as n
      from grants g join agents a on a.id = g.agent_id join resources r on r.id = g.resource_id
     where g.status in ('pending', 'scheduled', 'active') group by 1`.execute(db);
  return Object.fromEntries(counted.rows.map(({ status, n }) => [status, n]));
}

/** How many seconds ago the oldest grant ended whose end is not written down; 0: there is none. */
export async function readSweepLag(db: Db, now: Date): Promise<number> {
  const oldest = await sql<{ due: Date | null }>`
    select min(expires_at) as due from grants
     where status in ('active', 'scheduled') and expires_at <= ${now}`.execute(db);
  const due = oldest.rows[0]?.due ?? null;
  return due === null ? 0 : (now.getTime() - due.getTime()) / 1000;
}
