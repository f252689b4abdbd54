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
}

export function createAudit({ clock, ids }: { clock: Clock; ids: Ids }): Audit {
  return {
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
  };
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
  tx: string;
  id: string;
}

export interface AuditFilter {
  agentId?: string | undefined;
  grantId?: string | undefined;
  type?: string | undefined;
  since?: Date | undefined;
  until?: Date | undefined;
}

/** Up to `limit` events after `after`, only of transactions older than every running one. */
export async function listEvents(
  db: Db,
  filter: AuditFilter,
  page: { limit: number; after?: AuditPosition | undefined },
): Promise<AuditEvent[]> {
  let query = db
    .selectFrom('audit_events')
    .select([
      'id',
      'at',
      sql<string>`tx::text`.as('tx'),
      'type',
      'outcome',
      'actor_kind',
      'actor_id',
      'actor_key_id',
    ])
    .select(['agent_id', 'grant_id', 'object_id', 'request_id', 'source_ip', 'details'])
    .where(sql<boolean>`audit_events.tx < pg_snapshot_xmin(pg_current_snapshot())`)
    .orderBy(sql`audit_events.tx`)
    .orderBy('audit_events.id')
    .limit(page.limit);
  if (filter.agentId !== undefined) query = query.where('agent_id', '=', filter.agentId);
  if (filter.grantId !== undefined) query = query.where('grant_id', '=', filter.grantId);
  if (filter.type !== undefined) query = query.where('type', '=', filter.type);
  if (filter.since !== undefined) query = query.where('at', '>=', filter.since);
  if (filter.until !== undefined) query = query.where('at', '<', filter.until);
  if (page.after !== undefined) {
    query = query.where(
      sql<boolean>`(audit_events.tx, audit_events.id) > (${page.after.tx}::xid8, ${page.after.id})`,
    );
  }
  const rows = await query.execute();
  return rows.map((row) => ({
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
  }));
}
