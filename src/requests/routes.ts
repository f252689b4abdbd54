import type { Act } from '../caller.ts';
import { BrokerError } from '../errors.ts';
import type { GrantAction } from '../grants/endings/end-by-decision.ts';
import { matchesTag } from '../grants/grant.ts';
import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import type { Clock } from '../platform/clock.ts';
import type { Simulate } from '../policies/routes.ts';
import { present } from './present.ts';
import type { GrantView, RequestsService } from './service.ts';

const notYet = ['starts_at', 'max_uses'] as const;

/** Refuses restrictions that are not supported: ignoring one would grant more than was requested. */
function refuseUnsupported(body: Partial<Record<(typeof notYet)[number], unknown>>): void {
  const unsupported = notYet.filter((name) => body[name] !== undefined);
  if (unsupported.length > 0)
    throw new BrokerError('not-supported', { detail: `not supported yet: ${unsupported.join(', ')}` });
}

/** The `Retry-After` of a pending grant, for a client that does not long-poll. */
const retryAfterSeconds = 5;

type Operations =
  | 'createGrant'
  | 'listGrants'
  | 'getGrant'
  | 'approveGrant'
  | 'denyGrant'
  | 'cancelGrant'
  | 'returnGrant'
  | 'revokeGrant';

interface GrantRoutesDeps {
  grants: RequestsService;
  cursors: Cursors;
}

export function grantRoutes(deps: GrantRoutesDeps): Pick<Handlers, Operations> {
  return { ...asking(deps), ...deciding(deps) };
}

function shown(view: GrantView) {
  return { status: 200 as const, body: present(view), headers: { ETag: view.entityTag } };
}

function asking({
  grants,
  cursors,
}: GrantRoutesDeps): Pick<Handlers, 'createGrant' | 'listGrants' | 'getGrant'> {
  return {
    async createGrant({ body, header, ...act }) {
      refuseUnsupported(body);
      const { resource, scopes, duration_seconds: durationSeconds, reason, ticket = null } = body;
      const { authorization_details: authorizationDetails = null } = body;
      const request = { resource, scopes, durationSeconds, reason, ticket, authorizationDetails };
      const view = await grants.request(act, { request, idempotencyKey: header['Idempotency-Key'] });
      const headers = { ...shown(view).headers, Location: `/v1/grants/${view.grant.id}` };
      if (view.status !== 'pending') return { status: 201, body: present(view), headers };
      return {
        status: 202,
        body: present(view),
        headers: { ...headers, 'Retry-After': String(retryAfterSeconds) },
      };
    },
    async listGrants({ query, caller }) {
      const { limit = 50, cursor, status, agent_id: agentId, resource } = query;
      const list = `grants ${JSON.stringify([caller.id, status, agentId, resource])}`;
      const [before] = cursors.read(list, cursor) ?? [];
      const page = await grants.list(caller, { status, agentId, resource }, { limit, before });
      const next_cursor = cursors.next(list, page, ({ grant }) => [grant.id]);
      return { status: 200, body: { items: page.items.map(present), next_cursor } };
    },
    async getGrant({ path, query, header, caller, signal }) {
      const ifNoneMatch = header['If-None-Match'];
      const view = await grants.wait(caller, {
        id: path.grant_id,
        waitSeconds: query.wait ?? 0,
        ifNoneMatch,
        signal,
      });
      if (ifNoneMatch !== undefined && matchesTag(ifNoneMatch, view.entityTag))
        return { status: 304, headers: { ETag: view.entityTag } };
      return shown(view);
    },
  };
}

function deciding({
  grants,
}: GrantRoutesDeps): Omit<Pick<Handlers, Operations>, keyof ReturnType<typeof asking>> {
  const end =
    (kind: GrantAction) =>
    async ({ path, body, ...act }: Act & { path: { grant_id: string }; body: { reason?: string } }) =>
      shown(await grants.end(act, { kind, id: path.grant_id, reason: body.reason }));
  return {
    async approveGrant({ path, body, ...act }) {
      const { request_digest: requestDigest, note, scopes, duration_seconds: durationSeconds } = body;
      return shown(
        await grants.approve(act, path.grant_id, { requestDigest, note, scopes, durationSeconds }),
      );
    },
    denyGrant: end('deny'),
    cancelGrant: end('cancel'),
    returnGrant: end('return'),
    revokeGrant: end('revoke'),
  };
}

/** Handles `POST /v1/policies/simulate`. It is here because it needs the same services as a request. */
export function simulateRoute({ grants, clock }: { grants: RequestsService; clock: Clock }): Simulate {
  return async ({ origin }, body) => {
    const circumstances = {
      now: body.at === undefined ? clock.now() : new Date(body.at),
      address: body.source_ip ?? origin.address,
      authMethod: body.auth_method ?? 'client_secret_basic',
    };
    const { approvalsRequired, ...result } = await grants.simulate({
      agentId: body.agent_id,
      resource: body.resource,
      scopes: body.scopes,
      durationSeconds: body.duration_seconds,
      hasTicket: body.ticket !== undefined,
      authorizationDetails: body.authorization_details ?? null,
      cedar: body.cedar,
      circumstances,
    });
    return { ...result, approvals_required: approvalsRequired };
  };
}
