import type { Caller } from '../caller.ts';
import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import type { LeasesService, LeaseView } from './service.ts';

const iso = (time: Date | null): string | null => time?.toISOString() ?? null;

/** Returns the kind of a failure without its details, which may name accounts and addresses of the target. */
function problemOf(error: string | null): string | null {
  return error === null ? null : (/^[a-z-]+(?=: )/.exec(error)?.[0] ?? 'internal');
}

/** Converts a lease to its representation in the API. */
function present({ lease, status, fence, credential }: LeaseView, caller: Caller) {
  return {
    id: lease.id,
    grant_id: lease.grantId,
    agent_id: lease.agentId,
    resource_id: lease.resourceId,
    kind: lease.kind,
    status,
    account_name: lease.accountName,
    fence,
    created_at: lease.createdAt.toISOString(),
    activated_at: iso(lease.activatedAt),
    expires_at: lease.expiresAt.toISOString(),
    revoked_at: iso(lease.revokedAt),
    revoked_by: lease.revokedBy,
    revoke_reason: lease.revokeReason,
    access_disabled_at: iso(lease.accessDisabledAt),
    cleaned_up_at: iso(lease.cleanedUpAt),
    owned_objects: lease.ownedObjects,
    attempts: lease.attempts,
    next_attempt_at: status === 'active' ? null : iso(lease.nextAttemptAt),
    last_error: caller.kind === 'agent' ? problemOf(lease.lastError) : lease.lastError,
    ...(credential === undefined ? {} : { credential }),
  };
}

type Operations =
  | 'reconcileTarget'
  | 'createLease'
  | 'listLeases'
  | 'getLease'
  | 'renewLease'
  | 'revokeLease';

interface LeaseRoutesDeps {
  leases: LeasesService;
  cursors: Cursors;
}

export function leaseRoutes(deps: LeaseRoutesDeps): Pick<Handlers, Operations> {
  return { ...makingAndListing(deps), ...ofOneLease(deps) };
}

type Listing = 'createLease' | 'listLeases';

function makingAndListing({ leases, cursors }: LeaseRoutesDeps): Pick<Handlers, Listing> {
  return {
    async createLease({ body, header, ...act }) {
      const idempotencyKey = header['Idempotency-Key'];
      const view = await leases.create(act, {
        grantId: body.grant_id,
        ttlSeconds: body.ttl_seconds,
        idempotencyKey,
      });
      // Without a credential, an earlier call with the same key made the lease and got it.
      if (view.credential === undefined) return { status: 200, body: present(view, act.caller) };
      return {
        status: 201,
        body: present(view, act.caller),
        headers: { Location: `/v1/leases/${view.lease.id}` },
      };
    },
    async listLeases({ query, caller }) {
      const {
        limit = 50,
        cursor,
        agent_id: agentId,
        grant_id: grantId,
        resource_id: resourceId,
        status,
      } = query;
      const list = `leases ${JSON.stringify([caller.id, agentId, grantId, resourceId, status])}`;
      const [before] = cursors.read(list, cursor) ?? [];
      const page = await leases.list(caller, { agentId, grantId, resourceId, status }, { limit, before });
      const next_cursor = cursors.next(list, page, ({ lease }) => [lease.id]);
      return { status: 200, body: { items: page.items.map((view) => present(view, caller)), next_cursor } };
    },
  };
}

function ofOneLease({ leases }: LeaseRoutesDeps): Omit<Pick<Handlers, Operations>, Listing> {
  return {
    async getLease({ path, caller }) {
      return { status: 200, body: present(await leases.get(caller, path.lease_id), caller) };
    },
    async renewLease({ path, body, ...act }) {
      const renewal = { id: path.lease_id, ttlSeconds: body.ttl_seconds };
      return { status: 200, body: present(await leases.renew(act, renewal), act.caller) };
    },
    async reconcileTarget({ path, ...act }) {
      return { status: 200, body: await leases.reconcile(act, path.resource_id) };
    },
    async revokeLease({ path, body, ...act }) {
      const reason = body.reason ?? 'revoked by request';
      return {
        status: 200,
        body: present(await leases.revoke(act, { id: path.lease_id, reason }), act.caller),
      };
    },
  };
}
