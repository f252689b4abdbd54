import { type RawBuilder, sql } from 'kysely';
import type { Actor } from '../../../audit/audit-event.ts';
import { eventLimits } from '../../../audit/bounded-event.ts';
import type { Origin } from '../../../caller.ts';
import type { Tx } from '../../../db/database.ts';
import { isOpen } from '../../liveness-sql.ts';

/** Who or what ends the grants, for their rows and audit events. */
export interface EndedBy {
  actor: Actor;
  origin?: Origin | undefined;
  /** The `object_id` of the audit events. */
  objectId?: string | null;
  /** The ending (row of `grant_endings`) that ends them; null if the sweep does. */
  endingId?: string | null;
  /** When the audit events are appended. */
  now: Date;
  /** Ids for the events, one for each grant that the statement may end. */
  eventIds: string[];
}

/**
 * Ends grants and appends their audit events in one statement, so that the grants need not be read into the broker and
 * written back. `ctes` is a list of CTEs, of which the last must be `due (id, at, status, reason)`: the locked grants
 * and their ends. A grant that another transaction has ended is skipped. `unrecorded` selects grants that have ended
 * already and lack their audit event, as (id, agent_id, status, end_reason). `answer` is one JSON value over `ended`
 * and the CTEs. The type of an event is `grant.` followed by the status.
 */
export async function endDue<Answer>(
  tx: Tx,
  { actor, origin, objectId = null, endingId = null, now, eventIds }: EndedBy,
  {
    ctes,
    unrecorded,
    answer,
  }: Record<'ctes' | 'answer', RawBuilder<unknown>> & { unrecorded?: RawBuilder<unknown> },
): Promise<Answer | undefined> {
  const more = unrecorded === undefined ? sql`` : sql` union all ${unrecorded}`;
  const result = await sql<{ answer: Answer }>`
    with ${ctes}, ended as (
      update grants g set status = due.status, ended_at = due.at, ended_by = ${actor.id}, end_reason = due.reason,
          ending_id = ${endingId}
        from due where g.id = due.id and ${sql.raw(isOpen)}
      returning g.id, g.agent_id, g.status, g.end_reason
    ), numbered as (
      select *, row_number() over (order by id) as n from (select * from ended${more}) e
    ), recorded as (
      insert into audit_events (id, at, type, outcome, actor_kind, actor_id, actor_key_id, agent_id, grant_id, object_id,
          request_id, source_ip, details)
      select event.id, ${now}, 'grant.' || e.status, 'success', ${actor.kind}, ${actor.id}, ${actor.keyId ?? null},
          e.agent_id, e.id, ${objectId}, ${origin?.requestId ?? null}, ${origin?.address ?? null},
          jsonb_strip_nulls(jsonb_build_object('reason', left(e.end_reason, ${eventLimits.text})))
        from numbered e join unnest(${eventIds}::text[]) with ordinality as event (id, n) using (n)
    )
    select ${answer} as answer`.execute(tx);
  return result.rows[0]?.answer;
}
