import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import type { Call } from './call.ts';
import type { CallsService } from './service.ts';

/** Converts a call to its representation in the API. */
function present(call: Call) {
  return {
    id: call.id,
    request_id: call.requestId,
    at: call.at.toISOString(),
    grant_id: call.grantId,
    agent_id: call.agentId,
    token_id: call.tokenId,
    act: call.actors === null ? null : { ...call.actors },
    resource_id: call.resourceId,
    scope: call.scope,
    method: call.method,
    path: call.path,
    ended_at: call.endedAt?.toISOString() ?? null,
    outcome: call.outcome,
    upstream_status: call.upstreamStatus,
    request_bytes: call.requestBytes,
    request_sha256: call.requestSha256?.toString('hex') ?? null,
    response_bytes: call.responseBytes,
    response_sha256: call.responseSha256?.toString('hex') ?? null,
  };
}

interface CallRoutesDeps {
  calls: Pick<CallsService, 'list'>;
  cursors: Cursors;
}

export function callRoutes({ calls, cursors }: CallRoutesDeps): Pick<Handlers, 'listCalls'> {
  return {
    async listCalls({ query, caller }) {
      const { limit = 50, cursor, agent_id: agentId, grant_id: grantId, resource_id: resourceId } = query;
      const list = `calls ${JSON.stringify([caller.id, agentId, grantId, resourceId])}`;
      const [before] = cursors.read(list, cursor) ?? [];
      const page = await calls.list(caller, { agentId, grantId, resourceId }, { limit, before });
      const next_cursor = cursors.next(list, page, ({ id }) => [id]);
      return { status: 200, body: { items: page.items.map(present), next_cursor } };
    },
  };
}
