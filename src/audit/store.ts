import { type RawBuilder, sql } from 'kysely';
import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import type { ActorKind, AuditEvent, AuditEventType, NewAuditEvent } from './audit-event.ts';

type NamedEvent = NewAuditEvent & { id: string };

/** Appends events with the time `at`. The caller supplies their ids. */
export async function insertEvents(tx: Db, events: readonly NamedEvent[], at: Date): Promise<void> {
  const rows = events.map((event) => toRow(event, at));
  await tx.insertInto('audit_events').values(rows).execute();
}

/**
 * Appends an event with the time `at` in the same statement as `change`, which returns the rows that it has changed.
 * Appends nothing and returns false if `change` returned no row.
 */
export async function insertEventWith(
  db: Db,
  change: RawBuilder<unknown>,
  { event, at }: { event: NamedEvent; at: Date },
): Promise<boolean> {
  const row = toRow(event, at);
  const names = Object.keys(row).map((name) => sql.ref(name));
  const values = Object.values(row).map((value) => sql`${value}`);
  const result = await sql`
    with changed as (${change})
    insert into audit_events (${sql.join(names)}) select ${sql.join(values)} from changed limit 1`.execute(
    db,
  );
  return result.numAffectedRows === 1n;
}

const toRow = (event: NamedEvent, at: Date) => ({
  id: event.id,
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
});

/** The end of a page, in the order of (transaction, id). */
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
 * Makes new events follow the existing ones in the order of the log if they would not: after a restore into
 * another cluster, whose transaction ids are lower. Returns whether that was necessary. Safe at any time.
 */
export async function continueAuditOrder(db: Db): Promise<boolean> {
  const result = await sql<{ had: boolean }>`select public.continue_audit_order() as had`.execute(db);
  return result.rows[0]?.had === true;
}

/**
 * Lists up to `limit` events after `after`, only of transactions older than
 * every running one, so that no event can later appear before the end of a page.
 *
 * With `since` or `until`, reads only the part of the log where events of that time are expected, and
 * separately looks for events whose time does not match their position, because a clock was wrong. So a
 * filter of one hour does not read a month, and no event is missed, however wrong the clocks were.
 */
export async function listEvents(db: Db, filter: AuditFilter, page: AuditPage): Promise<AuditEvent[]> {
  const { horizon, first, last } = await readBounds(db, filter);
  // Every transaction before the horizon had ended when it was read, so the statements below see the same events.
  const where = { horizon, after: page.after };
  const base = matching(db, filter, where);
  // Outside of that part only time and position are compared, for which there is a small index; other filters are
  // applied afterwards.
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

/** Finds the position of the last event that `listEvents` returns now; undefined if it returns no event. */
export async function findLastStablePosition(db: Db): Promise<AuditPosition | undefined> {
  const { horizon } = await readBounds(db, {});
  return db
    .selectFrom('audit_events')
    .select(['tx', 'id'])
    .where('tx', '<', horizon)
    .orderBy('tx', 'desc')
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst();
}

/** Finds the time of the first committed event after `position`, stable or not; undefined if `position` is the last one. */
export async function findNextEventTime(db: Db, position: AuditPosition): Promise<Date | undefined> {
  const next = await db
    .selectFrom('audit_events')
    .select('at')
    .where(sql<boolean>`(tx, id) > (${position.tx}, ${position.id})`)
    .orderBy('tx')
    .orderBy('id')
    .limit(1)
    .executeTakeFirst();
  return next?.at;
}

interface Bounds {
  /** All transactions before this one have ended. */
  horizon: number;
  /** Estimates of the first position since `since` and of the last position until `until`: the part to read first. */
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

/** Finds events outside of the expected part. The CTE is materialized, so that the plan does not read the whole log. */
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

/** Compares positions in the order of the database, which compares ids bytewise. */
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
