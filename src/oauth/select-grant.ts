import { BrokerError } from '../errors.ts';

/** An active grant of the client for the resource, as far as choosing needs it. */
export interface UsableGrant {
  id: string;
  scopes: string[];
  expiresAt: Date;
}

/** Alike for an unknown resource and for one without a grant: which resources exist is not for every client to know. */
const noGrant = 'no active grant of this client for this resource: ask at /v1/grants';

/** How the grant was chosen: what must still hold when the token is written. */
export type Selection = 'pinned' | 'only' | 'best';

function latestFirst(a: UsableGrant, b: UsableGrant): number {
  return b.expiresAt.getTime() - a.expiresAt.getTime() || (a.id < b.id ? 1 : -1);
}

/**
 * The one grant that a token is minted under, never a union of several: the pinned one; else the one that covers all
 * scopes, latest expiry first, then newest; without scopes the only one there is. `grants` are those active now.
 * Throws `invalid-grant`, `invalid-target` (none at all), `invalid-scope`.
 */
export function selectGrant<G extends UsableGrant>(
  grants: readonly G[],
  asked: { scopes: string[] | undefined; grantId: string | undefined },
): { grant: G; scopes: string[]; selection: Selection } {
  const { scopes, grantId } = asked;
  const pinned = grantId === undefined ? undefined : grants.find(({ id }) => id === grantId);
  if (grantId !== undefined && pinned === undefined) {
    throw new BrokerError('invalid-grant', {
      detail: 'the grant is not active, or not for this client and resource',
    });
  }
  if (grants.length === 0) {
    throw new BrokerError('invalid-target', { detail: noGrant });
  }
  const candidates = pinned === undefined ? grants : [pinned];
  if (scopes === undefined) {
    const [only, ...more] = candidates;
    if (only === undefined || more.length > 0) {
      throw new BrokerError('invalid-scope', { detail: 'several grants are active: name scope or grant_id' });
    }
    return { grant: only, scopes: only.scopes, selection: pinned === undefined ? 'only' : 'pinned' };
  }
  const covering = candidates.filter((grant) => scopes.every((scope) => grant.scopes.includes(scope)));
  const [best] = covering.sort(latestFirst);
  if (best === undefined) {
    throw new BrokerError('invalid-scope', {
      detail: 'no one active grant covers these scopes: ask at /v1/grants',
    });
  }
  return { grant: best, scopes, selection: pinned === undefined ? 'best' : 'pinned' };
}
