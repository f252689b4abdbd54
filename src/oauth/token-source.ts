import { isSigningAlg, type SigningAlg } from '../crypto/algorithms.ts';
import { sha256 } from '../crypto/hash.ts';
import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import { currentFacts } from '../grants/decision-facts.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
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

/** Memory for what was found, in bytes of JSON: one agent's many grants must not push a replica over. */
const maxCacheBytes = 32 * 1024 * 1024;

type Found = NonNullable<Awaited<ReturnType<typeof findSource>>>;

export function createTokenSources({ db, clock }: { db: Db; clock: Clock }): TokenSources {
  const known = createBoundedCache<Found>({
    weigh: (found) => JSON.stringify(found).length,
    maxWeight: maxCacheBytes,
  });

  async function read(client: AuthenticatedClient, { resource }: AccessRequest): Promise<Found | undefined> {
    const until = usableUntil(clock.now());
    const asked = { agentId: client.id, identifiers: spellings(resource), usableUntil: until };
    const found = await findSource(db, asked);
    if (found !== undefined) known.set(keyOf(client, resource), found);
    return found;
  }

  /** Undefined: nothing of what is in memory will do. */
  function recall(client: AuthenticatedClient, request: AccessRequest): TokenSource | undefined {
    const found = known.get(keyOf(client, request.resource));
    try {
      return found === undefined ? undefined : choose(found, request, clock.now());
    } catch {
      // Memory never refuses: a grant may have been made since.
      return undefined;
    }
  }

  return {
    async find(client, request, { fresh }) {
      const recalled = fresh ? undefined : recall(client, request);
      return recalled ?? choose(await read(client, request), request, clock.now());
    },
  };
}

/** An id holds no space, so the two parts cannot be confused. */
function keyOf(client: AuthenticatedClient, resource: string): string {
  return `${client.id} ${resource}`;
}

/** Where there is no such resource, the answer is that of one without grants. */
function choose(found: Found | undefined, request: AccessRequest, now: Date): TokenSource {
  const usable = found?.grants.filter((grant) => grant.expiresAt >= usableUntil(now)) ?? [];
  const chosen = selectGrant(usable, request);
  const { resource } = found ?? {};
  if (resource === undefined || !isSigningAlg(resource.tokenAlg)) {
    throw new BrokerError('internal', { internal: 'a grant without a resource, or an unknown algorithm' });
  }
  return { resource, alg: resource.tokenAlg, ...chosen, scope: chosen.scopes.join(' ') };
}

/** Whether policy still permits the use of a grant: a tightened policy bites on the next use. */
export interface UseDecisions {
  /** True or false under the policies that the engine holds; asks Cedar once for each distinct set of facts. */
  permits(source: TokenSource, use: { now: Date; address: string; authMethod: string }): boolean;
}

const hourSeconds = 3600;
const longestKeyScope = 64;

export function createUseDecisions(engine: PolicyEngine): UseDecisions {
  const decided = createBoundedCache<boolean>({ maxEntries: 20_000 });
  return {
    permits(source, use) {
      const { grant, resource, scopes, scope } = source;
      const hour = Math.floor(use.now.getTime() / 1000 / hourSeconds);
      // Address and method hold no space, ids neither; what was asked for comes last, and short: a client chooses it.
      const asked = scope.length > longestKeyScope ? sha256(scope).toString('base64url') : scope;
      const key = `${grant.id} ${grant.version} ${resource.version} ${engine.epoch} ${hour} ${use.address} ${use.authMethod} ${asked}`;
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
