import { areWithin, type Detail, type DetailsType } from '../authorization-details/details-type.ts';
import { BrokerError } from '../errors.ts';

/** An active grant of the client for the resource, as far as choosing needs it. */
export interface UsableGrant {
  id: string;
  scopes: string[];
  expiresAt: Date;
  authorizationDetails: readonly Detail[] | null;
  /** Null: it is the agent's own, and not handed down to it. */
  delegation: unknown;
}

/** What a token is asked for: of a grant, or of the only one. */
export interface Selector {
  /** Undefined: all of the only grant. */
  scopes: string[] | undefined;
  grantId: string | undefined;
  /** Undefined: all that the grant has. */
  authorizationDetails: readonly Detail[] | undefined;
}

/** Alike for an unknown resource and for one without a grant: which resources exist is not for every client to know. */
const noGrant = 'no active grant of this client for this resource: ask at /v1/grants';

/**
 * How the grant was chosen: what must still hold when the token is written. For details any grant is good that has them, so
 * that one is `pinned`.
 */
export type Selection = 'pinned' | 'only' | 'best';

function latestFirst(a: UsableGrant, b: UsableGrant): number {
  return b.expiresAt.getTime() - a.expiresAt.getTime() || (a.id < b.id ? 1 : -1);
}

/**
 * The one grant that a token is minted under, never a union of several: the pinned one; else the one that covers all
 * scopes and details, latest expiry first, then newest; without scopes the only one there is. One that was handed down,
 * whose tokens are of somebody else, has to be pinned. `grants` are those active now, `types` those of the resource.
 * Throws `invalid-grant`, `invalid-target` (none at all), `invalid-scope`, `invalid-authorization-details`.
 */
export function selectGrant<G extends UsableGrant>(
  grants: readonly G[],
  { scopes, grantId, authorizationDetails: details }: Selector,
  types: readonly DetailsType[],
): { grant: G; scopes: string[]; selection: Selection } {
  const pinned = grantId === undefined ? undefined : grants.find(({ id }) => id === grantId);
  if (grantId !== undefined && pinned === undefined) {
    throw new BrokerError('invalid-grant', {
      detail: 'the grant is not active, or not for this client and resource',
    });
  }
  const candidates = pinned === undefined ? grants.filter((grant) => grant.delegation === null) : [pinned];
  if (candidates.length === 0) {
    throw new BrokerError('invalid-target', { detail: noGrant });
  }
  if (scopes === undefined) {
    const [only, ...more] = candidates;
    if (only === undefined || more.length > 0) {
      throw new BrokerError('invalid-scope', { detail: 'several grants are active: name scope or grant_id' });
    }
    if (!hasDetails(only, details, types)) throw notCovered();
    return { grant: only, scopes: only.scopes, selection: pinned === undefined ? 'only' : 'pinned' };
  }
  const covering = candidates.filter((grant) => scopes.every((scope) => grant.scopes.includes(scope)));
  if (covering.length === 0) {
    throw new BrokerError('invalid-scope', {
      detail: 'no one active grant covers these scopes: ask at /v1/grants',
    });
  }
  const [best] = covering.filter((grant) => hasDetails(grant, details, types)).sort(latestFirst);
  if (best === undefined) throw notCovered();
  return {
    grant: best,
    scopes,
    selection: pinned === undefined && details === undefined ? 'best' : 'pinned',
  };
}

/** A grant without details has none to give. */
function hasDetails(
  grant: UsableGrant,
  asked: readonly Detail[] | undefined,
  types: readonly DetailsType[],
): boolean {
  return asked === undefined || areWithin(types, asked, grant.authorizationDetails ?? []);
}

function notCovered(): BrokerError {
  return new BrokerError('invalid-authorization-details', {
    detail: 'no one active grant covers these authorization_details: ask at /v1/grants',
  });
}
