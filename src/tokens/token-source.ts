import type { Detail, DetailsRules } from '../authorization-details/details-type.ts';
import type { AuthenticatedClient } from '../client-auth/authenticated-client.ts';
import { isSigningAlg, type SigningAlg } from '../crypto/algorithms.ts';
import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import type { Clock } from '../platform/clock.ts';
import { type Selection, selectGrant } from './select-grant.ts';
import { findSource, type SourceGrant, type SourceResource } from './store/find-source.ts';
import { usableUntil } from './token-expiry.ts';
import type { AccessRequest } from './token-request.ts';

/** The resource and the grant under which an access token is minted. */
export interface TokenSource {
  resource: SourceResource;
  alg: SigningAlg;
  grant: SourceGrant;
  scope: string;
  scopes: string[];
  selection: Selection;
  /** The authorization details of the token; undefined if it has none. */
  authorizationDetails: readonly Detail[] | undefined;
}

/**
 * Returns the identifier with and without a trailing slash: clients often add or drop it, and RFC 8707 compares
 * strings.
 */
function spellings(resource: string): string[] {
  return [resource, resource.endsWith('/') ? resource.slice(0, -1) : `${resource}/`];
}

export interface TokenSources {
  /**
   * Finds the resource and the grant for a request, from memory where that suffices: the statement that writes the token
   * checks every version again. Throws `invalid-target`, `invalid-grant`, `invalid-scope` and
   * `invalid-authorization-details`. Returns no promise if memory has the answer: this is the hot path.
   */
  find(
    client: AuthenticatedClient,
    request: AccessRequest,
    options: { fresh: boolean },
  ): TokenSource | Promise<TokenSource>;
}

/** The size of the cache, in bytes of JSON: one agent's many grants must not exhaust a replica's memory. */
const maxCacheBytes = 32 * 1024 * 1024;

type Found = NonNullable<Awaited<ReturnType<typeof findSource>>>;

/** A selected source and the form of its request. Keeps no string of the request, which would retain its body. */
interface Choice {
  source: TokenSource;
  allScopes: boolean;
  pinned: boolean;
}

/** The grants of one agent for one resource, or the pinned one, and the last choice: most requests are repeated. */
interface Memory {
  found: Found;
  last?: Choice;
}

interface SourcesDeps {
  db: Db;
  clock: Clock;
  details: DetailsRules;
}

export function createTokenSources({ db, clock, details }: SourcesDeps): TokenSources {
  const known = createBoundedCache<Memory>({
    weigh: ({ found }) => JSON.stringify(found).length,
    maxWeight: maxCacheBytes,
  });

  async function read(client: AuthenticatedClient, request: AccessRequest): Promise<TokenSource> {
    const now = clock.now();
    const query = {
      agentId: client.id,
      identifiers: spellings(request.resource),
      pinned: request.grantId,
      now,
      usableUntil: usableUntil(now),
    };
    const found = await findSource(db, query);
    if (found !== undefined && isMemorable(found, request)) known.set(keyOf(client, request), { found });
    return withValidDetails(choose(found, request, now), { request, details });
  }

  /** Chooses from memory; undefined if memory has no suitable grant. */
  function recall(client: AuthenticatedClient, request: AccessRequest): TokenSource | undefined {
    const memory = known.get(keyOf(client, request));
    // With details the selection depends on every existing grant, so memory could miss a newer one.
    if (memory === undefined || request.authorizationDetails !== undefined) return undefined;
    const { found, last } = memory;
    const now = clock.now();
    if (last !== undefined && isSame(last, request) && last.source.grant.expiresAt >= usableUntil(now)) {
      return last.source;
    }
    try {
      const source = choose(found, request, now);
      memory.last = {
        source,
        allScopes: request.scopes === undefined,
        pinned: request.grantId !== undefined,
      };
      return source;
    } catch {
      // A refusal is never taken from memory: a grant may have been made since.
      return undefined;
    }
  }

  return {
    find: (client, request, { fresh }) =>
      (fresh ? undefined : recall(client, request)) ?? read(client, request),
  };
}

/** Asserts that the requested details are valid for their types. The caller has checked that the grant covers them. */
function withValidDetails(
  source: TokenSource,
  { request, details }: { request: AccessRequest; details: DetailsRules },
): TokenSource {
  const types = source.resource.authorizationDetailsTypes;
  const problem = details.problem(types, request.authorizationDetails ?? []);
  if (problem === undefined) return source;
  throw new BrokerError('invalid-authorization-details', { detail: problem });
}

/** Whether to cache the result. Not for a pinned grant that does not exist, because the client chooses its id. */
function isMemorable({ grants }: Found, { grantId }: AccessRequest): boolean {
  return grantId === undefined || grants.length > 0;
}

/** Makes the key of a cache entry. The id of a grant that exists has no space, so the parts are unambiguous. */
function keyOf(client: AuthenticatedClient, { resource, grantId = '' }: AccessRequest): string {
  return `${client.id} ${grantId} ${resource}`;
}

function isSame({ source, allScopes, pinned }: Choice, { scopes, grantId }: AccessRequest): boolean {
  if (pinned ? grantId !== source.grant.id : grantId !== undefined) return false;
  if (scopes === undefined || allScopes) return allScopes && scopes === undefined;
  return scopes.length === source.scopes.length && scopes.every((scope, i) => scope === source.scopes[i]);
}

/** Chooses a grant. Refuses an unknown resource like one without grants. */
function choose(found: Found | undefined, request: AccessRequest, now: Date): TokenSource {
  const until = usableUntil(now);
  const usable = found?.grants.filter((grant) => grant.expiresAt >= until) ?? [];
  const { resource } = found ?? {};
  const chosen = selectGrant(usable, request, resource?.authorizationDetailsTypes ?? []);
  if (resource === undefined || !isSigningAlg(resource.tokenAlg)) {
    throw new BrokerError('internal', { internal: 'a grant without a resource, or an unknown algorithm' });
  }
  const { grant, selection } = chosen;
  // Takes the strings from the grant: those of the request are slices that keep its whole body in memory.
  const scopes = chosen.scopes.map((scope) => grant.scopes.find((own) => own === scope) ?? scope);
  const authorizationDetails = request.authorizationDetails ?? grant.authorizationDetails ?? undefined;
  const { tokenAlg: alg } = resource;
  return { resource, alg, grant, selection, scopes, scope: scopes.join(' '), authorizationDetails };
}
