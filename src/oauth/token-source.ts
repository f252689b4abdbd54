import { isSigningAlg, type SigningAlg } from '../crypto/algorithms.ts';
import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import { currentFacts } from '../grants/decision-facts.ts';
import { cacheKey, createBoundedCache } from '../platform/bounded-cache.ts';
import { addSeconds, type Clock, toEpochSeconds } from '../platform/clock.ts';
import type { PolicyEngine } from '../policies/engine.ts';
import type { AuthenticatedClient } from './clients.ts';
import { type Selection, selectGrant } from './select-grant.ts';
import { findSource, type SourceGrant, type SourceResource } from './store.ts';
import type { TokenRequest } from './token-request.ts';

/** What an access token is minted from. */
export interface TokenSource {
  resource: SourceResource;
  alg: SigningAlg;
  grant: SourceGrant;
  scope: string;
  scopes: string[];
  selection: Selection;
}

export type AccessRequest = Extract<TokenRequest, { kind: 'access' }>;

/** The first instant at which a token minted at `now` may end: its claims are whole seconds, and exp > iat. */
export function usableUntil(now: Date): Date {
  return new Date((toEpochSeconds(now) + 1) * 1000);
}

/** RFC 8707 compares strings; one trailing slash more or less is the difference that clients make by mistake. */
function spellings(resource: string): string[] {
  return [resource, resource.endsWith('/') ? resource.slice(0, -1) : `${resource}/`];
}

export interface TokenSources {
  /**
   * The resource and the grant for a request. From memory where it can be: the statement that writes the token checks
   * every version again. Throws `invalid-target`, `invalid-grant`, `invalid-scope`.
   */
  find(
    client: AuthenticatedClient,
    request: AccessRequest,
    options: { fresh: boolean },
  ): Promise<TokenSource>;
}

export function createTokenSources({ db, clock }: { db: Db; clock: Clock }): TokenSources {
  const known = createBoundedCache<TokenSource>();
  // Sources of one resource share its catalogue: who permutes scopes cannot fill memory with copies of it.
  const resources = createBoundedCache<SourceResource>({ maxEntries: 1000 });
  const shared = (resource: SourceResource): SourceResource => {
    const key = `${resource.id} ${resource.version}`;
    const first = resources.get(key) ?? resource;
    resources.set(key, first);
    return first;
  };
  return {
    async find(client, request, { fresh }) {
      const { resource: asked, scopes, grantId } = request;
      const key = cacheKey([client.id, asked, scopes, grantId]);
      const now = clock.now();
      const cached = fresh ? undefined : known.get(key);
      if (cached !== undefined && cached.grant.expiresAt >= usableUntil(now)) return cached;
      const until = { now, usableUntil: usableUntil(now) };
      const found = await findSource(db, { agentId: client.id, identifiers: spellings(asked), ...until });
      if (found === undefined) throw new BrokerError('invalid-target', { detail: unknownResource });
      const chosen = selectGrant(found.grants, { scopes, grantId });
      const resource = shared(found.resource);
      if (!isSigningAlg(resource.tokenAlg))
        throw new BrokerError('internal', { internal: 'an unknown algorithm' });
      const source = { resource, alg: resource.tokenAlg, ...chosen, scope: chosen.scopes.join(' ') };
      known.set(key, source);
      return source;
    },
  };
}

const unknownResource = 'not a resource with a grant for this client: ask at /v1/grants';

/** Whether policy still permits the use of a grant: a tightened policy bites on the next use. */
export interface UseDecisions {
  /** True or false under the policies that the engine holds; asks Cedar once for each distinct set of facts. */
  permits(source: TokenSource, use: { now: Date; address: string; authMethod: string }): boolean;
}

const hourSeconds = 3600;

export function createUseDecisions(engine: PolicyEngine): UseDecisions {
  const decided = createBoundedCache<boolean>();
  return {
    permits(source, use) {
      const { grant, resource, scopes, scope } = source;
      const hour = Math.floor(use.now.getTime() / 1000 / hourSeconds);
      // Address and method hold no space, ids neither; the scope, which may hold anything, comes last.
      const key = `${grant.id} ${grant.version} ${resource.version} ${engine.epoch} ${hour} ${use.address} ${use.authMethod} ${scope}`;
      const known = decided.get(key);
      if (known !== undefined) return known;
      const { decision } = engine.decide(
        currentFacts(grant.facts, {
          scopes,
          durationSeconds: grant.durationSeconds,
          catalogue: resource.catalogue,
          approvals: grant.approvals,
          circumstances: use,
        }),
      );
      // Nothing in force has no epoch to be kept under.
      if (engine.epoch !== undefined) decided.set(key, decision === 'permit');
      return decision === 'permit';
    },
  };
}

/**
 * When a token minted at `now` ends: after `ttlSeconds`, but never after its grant or its agent. Seconds since the
 * epoch. Less than a second away: it cannot be minted.
 */
export function tokenExpiry(now: Date, ttlSeconds: number, ends: readonly (Date | null)[]): number {
  const limits = ends.filter((end) => end !== null).map(toEpochSeconds);
  return Math.min(toEpochSeconds(addSeconds(now, ttlSeconds)), ...limits);
}
