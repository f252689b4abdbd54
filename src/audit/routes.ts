import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import type { AuditEvent } from './audit-event.ts';
import type { AuditService } from './service.ts';

function present(event: AuditEvent) {
  return {
    id: event.id,
    at: event.at.toISOString(),
    type: event.type,
    outcome: event.outcome,
    actor: { kind: event.actor.kind, id: event.actor.id, key_id: event.actor.keyId },
    agent_id: event.agentId,
    grant_id: event.grantId,
    object_id: event.objectId,
    request_id: event.origin.requestId,
    source_ip: event.origin.address,
    details: event.details,
  };
}

export function auditRoutes({
  audit,
  cursors,
}: {
  audit: AuditService;
  cursors: Cursors;
}): Pick<Handlers, 'listAuditEvents'> {
  return {
    async listAuditEvents({ query }) {
      const { limit = 50, cursor, since, until, agent_id: agentId, grant_id: grantId, type } = query;
      const list = `audit-events ${JSON.stringify([agentId, grantId, type, since, until])}`;
      const [tx, id] = cursors.read(list, cursor) ?? [];
      const after = tx === undefined || id === undefined ? undefined : { tx: Number(tx), id };
      const filter = {
        agentId,
        grantId,
        type,
        since: since === undefined ? undefined : new Date(since),
        until: until === undefined ? undefined : new Date(until),
      };
      const page = await audit.list(filter, { limit, after });
      const next_cursor = cursors.next(list, page, ({ tx, id }) => [String(tx), id]);
      return { status: 200, body: { items: page.items.map(present), next_cursor } };
    },
  };
}
