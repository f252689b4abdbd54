import { areWithin, type Detail, type DetailsType } from '../authorization-details/details-type.ts';
import { BrokerError } from '../errors.ts';

/** The parts of an active grant by which one is selected. */
export interface UsableGrant {
  id: string;
  scopes: string[];
  expiresAt: Date;
  authorizationDetails: readonly Detail[] | null;
  /** The subject and the actors of a delegated grant; null for the agent's own grant. */
  delegation: unknown;
}

/** The parts of a token request that select a grant. */
export interface Selector {
  /** The requested scopes; undefined if the request names none, which means all scopes of the only grant. */
  scopes: string[] | undefined;
  grantId: string | undefined;
  /** The requested details; undefined if the request names none, which means all details of the grant. */
  authorizationDetails: readonly Detail[] | undefined;
}

/**
 * The same text for an unknown resource and for a resource without a grant: clients must not learn which resources
 * exist.
 */
const noGrant = 'no active grant of this client for this resource: request one at /v1/grants';

/**
 * How the grant was selected. The mint statement checks that this selection is still right.
 * Any grant with the requested details suffices, so a selection by details counts as `pinned`.
 */
export type Selection = 'pinned' | 'only' | 'best';

function latestFirst(a: UsableGrant, b: UsableGrant): number {
  return b.expiresAt.getTime() - a.expiresAt.getTime() || (a.id < b.id ? 1 : -1);
}

/**
 * Selects the one grant that a token is minted under, never a union of several: the pinned grant; otherwise the grant that
 * covers all scopes and details, latest expiry first, then newest; without scopes the only grant. A delegated grant, whose
 * tokens have another subject, must be pinned. `grants` are those active now, `types` the detail types of the resource.
 * Throws `invalid-grant`, `invalid-target` (no grant), `invalid-scope`, `invalid-authorization-details`.
 */
export function selectGrant<G extends UsableGrant>(
  grants: readonly G[],
  { scopes, grantId, authorizationDetails: details }: Selector,
  types: readonly DetailsType[],
): { grant: G; scopes: string[]; selection: Selection } {
  const pinned = grantId === undefined ? undefined : grants.find(({ id }) => id === grantId);
  if (grantId !== undefined && pinned === undefined) {
    throw new BrokerError('invalid-grant', {
      detail: 'the grant is not active, or is for another client or resource',
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
      detail: 'no single active grant covers these scopes: request one at /v1/grants',
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

/** Whether the grant has the requested details. */
function hasDetails(
  grant: UsableGrant,
  requested: readonly Detail[] | undefined,
  types: readonly DetailsType[],
): boolean {
  return requested === undefined || areWithin(types, requested, grant.authorizationDetails ?? []);
}

function notCovered(): BrokerError {
  return new BrokerError('invalid-authorization-details', {
    detail: 'no single active grant covers these authorization_details: request one at /v1/grants',
  });
}
