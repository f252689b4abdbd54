import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import { isOutage } from '../db/sqlstate.ts';
import { BrokerError } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { ActorKind, AuditEvent, AuditEventType, NewAuditEvent } from './audit-event.ts';

/** Writes the record. Give it the `tx` of the change: no audit, no change. */
export interface Audit {
  append(tx: Db, ...events: NewAuditEvent[]): Promise<void>;
  /** However many there are. */
  appendAll(tx: Db, events: readonly NewAuditEvent[]): Promise<void>;
}

/** Far below the 65,535 parameters that one statement can have. */
const eventsPerStatement = 1_000;

export function createAudit({ clock, ids }: { clock: Clock; ids: Ids }): Audit {
  const audit: Audit = {
    async append(tx, ...events) {
      if (events.length === 0) return;
      const at = clock.now();
      const rows = events.map((event) => ({
        id: ids.next('event'),
        at,
        type: event.type,
        outcome: event.outcome ?? 'success',
        actor_kind: event.actor.kind,
        actor_id: event.actor.id,
        actor_key_id: event.actor.keyId ?? null,
        agent_id: event.agentId ?? null,
        grant_id: event.grantId ?? null,
        object_id: event.objectId ?? null,
        request_id: event.origin?.requestId ?? null,
        source_ip: event.origin?.address ?? null,
        details: JSON.stringify(event.details ?? {}),
      }));
      try {
        await tx.insertInto('audit_events').values(rows).execute();
      } catch (error) {
        throw asUnrecorded(error);
      }
    },
    async appendAll(tx, events) {
      for (let from = 0; from < events.length; from += eventsPerStatement) {
        await audit.append(tx, ...events.slice(from, from + eventsPerStatement));
      }
    },
  };
  return audit;
}

/**
 * What to throw when an event could not be written: no audit, no change, and the caller may try again later. An outage
 * stays what it is, so that `withTransaction` retries what is worth it.
 */
export function asUnrecorded(error: unknown): unknown {
  if (isOutage(error)) return error;
  return new BrokerError('unavailable', {
    cause: error,
    internal: 'the audit event could not be written',
    retryAfterSeconds: 1,
  });
}

/** Where a page ends: events are read in the order of (transaction, id). */
export interface AuditPosition {
  tx: number;
  id: string;
}

export interface AuditFilter {
  agentId?: string | undefined;
  grantId?: string | undefined;
  type?: string | undefined;
  since?: Date | undefined;
  until?: Date | undefined;
}

export interface AuditPage {
  limit: number;
  after?: AuditPosition | undefined;
}

/**
 * Makes what is recorded from now on stand behind what is recorded, where it would not: the database was restored into
 * another cluster, whose transactions are counted from a lower number. Answers whether it had to; safe at any time.
 */
export async function continueAuditOrder(db: Db): Promise<boolean> {
  const result = await sql<{ had: boolean }>`select public.continue_audit_order() as had`.execute(db);
  return result.rows[0]?.had === true;
}

/**
 * Up to `limit` events after `after`, only of transactions older than every running one, so that none is ever recorded
 * before the end of a page that was read.
 *
 * With `since` or `until`, only the part of the record is walked where events of that time are to be expected, and
 * those whose time does not fit their place, because a clock was wrong, are looked for beside it: no month is read for
 * an hour, and nothing that the filter names is missing, whatever the clocks did.
 */
export async function listEvents(db: Db, filter: AuditFilter, page: AuditPage): Promise<AuditEvent[]> {
  const { horizon, first, last } = await readBounds(db, filter);
  // Everything before the horizon had ended when it was read: the statements below agree on what there is.
  const where = { horizon, after: page.after };
  const base = matching(db, filter, where);
  // Beside it only by time and place, which one small index finds, whatever else is asked for.
  const beside = matching(db, { since: filter.since, until: filter.until }, where);
  let expected = base;
  if (first !== null) expected = expected.where('tx', '>=', first);
  if (last !== null) expected = expected.where('tx', '<=', last);
  const rows = await expected.orderBy('tx').orderBy('id').limit(page.limit).execute();
  if (first !== null && (page.after === undefined || page.after.tx < first)) {
    rows.push(...(await misplaced(db, beside.where('tx', '<', first), { filter, limit: page.limit })));
  }
  if (last !== null)
    rows.push(...(await misplaced(db, beside.where('tx', '>', last), { filter, limit: page.limit })));
  return rows.sort(inOrder).slice(0, page.limit).map(toEvent);
}

interface Bounds {
  /** Every transaction before it has ended. */
  horizon: number;
  /** About where events since `since` begin, and where those until `until` end: where to look first, no promise. */
  first: number | null;
  last: number | null;
}

async function readBounds(db: Db, { since, until }: AuditFilter): Promise<Bounds> {
  const result = await sql<Bounds>`
    select tx_offset + pg_snapshot_xmin(pg_current_snapshot())::text::bigint as horizon,
           public.audit_position(${since ?? null}) as first, public.audit_position(${until ?? null}) as last
      from audit_order`.execute(db);
  const [bounds] = result.rows;
  if (bounds === undefined) throw new BrokerError('internal', { internal: 'audit_order is empty' });
  return bounds;
}

const columns = [
  'id',
  'at',
  'tx',
  'type',
  'outcome',
  'actor_kind',
  'actor_id',
  'actor_key_id',
  'agent_id',
  'grant_id',
  'object_id',
  'request_id',
  'source_ip',
  'details',
] as const;

type Matching = ReturnType<typeof matching>;
type Row = Awaited<ReturnType<Matching['execute']>>[number];

function matching(
  db: Db,
  filter: AuditFilter,
  { horizon, after }: { horizon: number; after: AuditPosition | undefined },
) {
  let query = db.selectFrom('audit_events').select(columns).where('tx', '<', horizon);
  if (filter.agentId !== undefined) query = query.where('agent_id', '=', filter.agentId);
  if (filter.grantId !== undefined) query = query.where('grant_id', '=', filter.grantId);
  if (filter.type !== undefined) query = query.where('type', '=', filter.type);
  if (filter.since !== undefined) query = query.where('at', '>=', filter.since);
  if (filter.until !== undefined) query = query.where('at', '<', filter.until);
  if (after !== undefined) query = query.where(sql<boolean>`(tx, id) > (${after.tx}, ${after.id})`);
  return query;
}

/** Materialized, so that the plan is made for finding few events, not for walking the record until the page is full. */
function misplaced(
  db: Db,
  query: Matching,
  { filter, limit }: { filter: AuditFilter; limit: number },
): Promise<Row[]> {
  let found = db
    .with(
      (cte) => cte('found').materialized(),
      () => query,
    )
    .selectFrom('found')
    .select(columns)
    .orderBy('tx')
    .orderBy('id')
    .limit(limit);
  if (filter.agentId !== undefined) found = found.where('agent_id', '=', filter.agentId);
  if (filter.grantId !== undefined) found = found.where('grant_id', '=', filter.grantId);
  if (filter.type !== undefined) found = found.where('type', '=', filter.type);
  return found.execute();
}

/** As the database sorts: ids bytewise. */
function inOrder(a: AuditPosition, b: AuditPosition): number {
  if (a.tx !== b.tx) return a.tx - b.tx;
  return a.id < b.id ? -1 : Number(a.id > b.id);
}

function toEvent(row: Row): AuditEvent {
  return {
    id: row.id,
    at: row.at,
    tx: row.tx,
    type: row.type as AuditEventType,
    outcome: row.outcome === 'denied' ? 'denied' : 'success',
    actor: { kind: row.actor_kind as ActorKind, id: row.actor_id, keyId: row.actor_key_id },
    agentId: row.agent_id,
    grantId: row.grant_id,
    objectId: row.object_id,
    origin: { requestId: row.request_id, address: row.source_ip },
    details: row.details as Record<string, unknown>,
  };
}
