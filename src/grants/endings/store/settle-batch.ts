import { type RawBuilder, sql } from 'kysely';
import type { Tx } from '../../../db/database.ts';
import { epochsEndedAt, isOpen, ownEnd } from '../../liveness-sql.ts';
import { ancestorEndedReason } from '../ending.ts';
import { endDue } from './end-due.ts';
import type { QueuedEnding, SelectionKind } from './queue.ts';

export interface SettledBatch {
  /** How many grants were written as ended or got their missing audit event. */
  rows: number;
  /**
   * Whether all selected grants are settled. False if another transaction holds one, or if more grants were delegated
   * from them than the batch takes: the selected grants then stay open until the delegated ones have ended.
   */
  isWhole: boolean;
  /** The id of the last examined grant, after which the next batch begins; null if none is left. */
  next: string | null;
}

/** The most grants that a batch examines, the most that it selects, and the most delegated grants that it ends. */
export interface BatchSize {
  examined: number;
  selected: number;
  delegated: number;
}

/**
 * SQL conditions for the grants g that an ending examines. Each condition uses an index in id order, or matches few
 * grants.
 */
const conditions: Record<SelectionKind, (subjectId: string) => RawBuilder<unknown>> = {
  grant: (id) => sql`g.id = ${id}`,
  agent: (id) => sql`g.agent_id = ${id} and ${sql.raw(isOpen)}`,
  resource: (id) => sql`g.resource_id = ${id} and ${sql.raw(isOpen)}`,
  catalogue: () => sql`true`,
  subject_token: (jti) =>
    sql`g.subjects <> '{}' and g.subjects @> array[${jti}::text] and ${sql.raw(isOpen)}`,
  tokens_of_agent: openDelegated,
  tokens_for_resource: openDelegated,
  tokens_signed_by: openDelegated,
  tokens_by_issuer: openDelegated,
  derived: openDelegated,
};

function openDelegated(): RawBuilder<unknown> {
  return sql`g.ancestors <> '{}' and ${sql.raw(isOpen)}`;
}

/** SQL conditions on a subject token t of examined grants, so that an ending leaves grants of other causes alone. */
const causes: Partial<Record<SelectionKind, (subjectId: string) => RawBuilder<unknown>>> = {
  tokens_of_agent: (id) => sql`t.agent_id = ${id}`,
  tokens_for_resource: (id) => sql`t.resource_id = ${id}`,
  tokens_signed_by: (kid) => sql`t.kid = ${kid}`,
  tokens_by_issuer: (id) => sql`(t.subject_issuer_id = ${id}
    or t.secret_id in (select s.id from agent_secrets s where s.trusted_issuer_id = ${id}))`,
};

/** Kinds whose selected grants have ended already: only the grants delegated from them are still to be ended. */
const endedAlready: ReadonlySet<SelectionKind> = new Set(['grant', 'catalogue']);

/**
 * Builds the CTEs `examined (id, at, own)` and `selected (id, at)`, the next grants of an ending. A grant
 * is selected if something on which it depends ended before its own time; the sweep ends the others.
 */
function select({ id, kind, afterId, subjectId }: QueuedEnding, size: BatchSize): RawBuilder<unknown> {
  const condition = kind === 'catalogue' ? sql`g.ending_id = ${id}` : conditions[kind](subjectId);
  const hasEnded = endedAlready.has(kind);
  const cause = causes[kind]?.(subjectId);
  const byCause =
    cause === undefined
      ? sql`true`
      : sql`exists (select from tokens t where t.jti = any(g.subjects) and ${cause})`;
  const at = hasEnded ? sql`null::timestamptz` : sql`case when ${byCause} then ${sql.raw(epochsEndedAt)} end`;
  return sql`examined as materialized (
      select g.id, ${at} as at, ${sql.raw(ownEnd)} as own from grants g ${joins}
       where ${condition} and g.id > ${afterId} order by g.id limit ${size.examined}
    ), selected as materialized (
      select id, at from examined where ${hasEnded} or at < own order by id limit ${size.selected}
    )`;
}

const joins = sql`join agents a on a.id = g.agent_id join resources r on r.id = g.resource_id`;

/**
 * Ends the next grants of a queued ending and the grants delegated from them, directly or not, with their audit
 * events. Waits for no lock: a grant that another transaction has locked is left to the next attempt. A grant
 * ends after the grants delegated from it, or with them, so that a crash leaves no grant that no selection finds.
 * Computing when a grant ended is the slowest part, so it is done one grant after the other, only until the batch is full.
 */
export async function settleBatch(
  tx: Tx,
  { ending, size, now, eventIds }: { ending: QueuedEnding; size: BatchSize; now: Date; eventIds: string[] },
): Promise<SettledBatch> {
  const { id, kind, reason } = ending;
  const hasEnded = endedAlready.has(kind);
  const ctes = sql`${select(ending, size)}, delegated as materialized (
      select o.id, ended.at
        from (select g.id from grants g
               where g.ancestors <> '{}' and g.ancestors && (select coalesce(array_agg(id), '{}') from selected)
                 and ${sql.raw(isOpen)} and g.id not in (select id from selected)
               order by g.id offset 0) o
       cross join lateral (select ${sql.raw(epochsEndedAt)} as at, ${sql.raw(ownEnd)} as own
                             from grants g ${joins} where g.id = o.id offset 0) ended
       where ended.at < ended.own
       order by o.id limit ${size.delegated}
    ), due_delegated as materialized (
      select g.id, delegated.at, ${ancestorEndedReason}::text as reason, g.status
        from grants g join delegated on delegated.id = g.id where ${sql.raw(isOpen)} for update of g skip locked
    ), fits as materialized (
      select (select count(*) from delegated) < ${size.delegated}
         and (select count(*) from delegated) = (select count(*) from due_delegated) as all
    ), due_selected as materialized (
      select g.id, selected.at, ${reason}::text as reason, g.status
        from grants g join selected on selected.id = g.id
       where ${!hasEnded} and (select fits.all from fits) and ${sql.raw(isOpen)} for update of g skip locked
    ), due as (
      select id, at, reason, case status when 'pending' then 'denied' else 'revoked' end as status
        from (select * from due_delegated union all select * from due_selected) d
    )`;
  const unrecorded = sql`select g.id, g.agent_id, g.status, g.end_reason
    from grants g join selected on selected.id = g.id where ${kind === 'catalogue'} and (select fits.all from fits)`;
  const answer = sql`json_build_object('rows', (select count(*) from numbered),
    'isWhole', (select fits.all from fits)
      and (${hasEnded} or (select count(*) from selected) = (select count(*) from due_selected)),
    'next', case
      when (select count(*) from selected) = ${size.selected} then (select max(id) from selected)
      when (select count(*) from examined) = ${size.examined} then (select max(id) from examined) end)`;
  const { actor, origin, objectId } = ending;
  const settled = await endDue<SettledBatch>(
    tx,
    { actor, origin, objectId, endingId: id, now, eventIds },
    { ctes, unrecorded, answer },
  );
  return settled ?? { rows: 0, isWhole: true, next: null };
}
