import type { Detail, DetailsRules } from '../authorization-details/details-type.ts';
import { isSigningAlg, type SigningAlg } from '../crypto/algorithms.ts';
import { sha256 } from '../crypto/hash.ts';
import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import { type Circumstances, currentFacts } from '../grants/decision-facts.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import { type Clock, toEpochSeconds } from '../platform/clock.ts';
import type { PolicyEngine } from '../policies/engine.ts';
import type { AuthenticatedClient } from './clients/clients.ts';
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
  /** Those of the token; undefined: none. */
  authorizationDetails: readonly Detail[] | undefined;
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
   * every version again. Throws `invalid-target`, `invalid-grant`, `invalid-scope`. No promise where memory has the
   * answer: this is the hot path.
   */
  find(
    client: AuthenticatedClient,
    request: AccessRequest,
    options: { fresh: boolean },
  ): TokenSource | Promise<TokenSource>;
}

/** Memory for what was found, in bytes of JSON: one agent's many grants must not push a replica over. */
const maxCacheBytes = 32 * 1024 * 1024;

type Found = NonNullable<Awaited<ReturnType<typeof findSource>>>;

/** What was chosen, and how it was asked for; of the request itself nothing is kept, nor the body it was cut from. */
interface Choice {
  source: TokenSource;
  allScopes: boolean;
  pinned: boolean;
}

/** What was found of one agent and resource, and what was chosen from it last: most clients ask for the same again. */
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
    const asked = {
      agentId: client.id,
      identifiers: spellings(request.resource),
      pinned: request.grantId,
      usableUntil: usableUntil(now),
    };
    const found = await findSource(db, asked);
    if (found !== undefined) known.set(keyOf(client, request.resource), { found });
    return checked(choose(found, request, now), { request, details });
  }

  /** Undefined: nothing of what is in memory will do. */
  function recall(client: AuthenticatedClient, request: AccessRequest): TokenSource | undefined {
    const memory = known.get(keyOf(client, request.resource));
    // Which grants have details is decided by those that there are, so that a newer one is not overlooked.
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
      // Memory never refuses: a grant may have been made since.
      return undefined;
    }
  }

  return {
    find: (client, request, { fresh }) =>
      (fresh ? undefined : recall(client, request)) ?? read(client, request),
  };
}

/** The details that are asked for are not only within those of the grant: they are such. */
function checked(
  source: TokenSource,
  { request, details }: { request: AccessRequest; details: DetailsRules },
): TokenSource {
  const types = source.resource.authorizationDetailsTypes;
  const problem = details.problem(types, request.authorizationDetails ?? []);
  if (problem === undefined) return source;
  throw new BrokerError('invalid-authorization-details', { detail: problem });
}

/** An id holds no space, so the two parts cannot be confused. */
function keyOf(client: AuthenticatedClient, resource: string): string {
  return `${client.id} ${resource}`;
}

function isSame({ source, allScopes, pinned }: Choice, { scopes, grantId }: AccessRequest): boolean {
  if (pinned ? grantId !== source.grant.id : grantId !== undefined) return false;
  if (scopes === undefined || allScopes) return allScopes && scopes === undefined;
  return scopes.length === source.scopes.length && scopes.every((scope, i) => scope === source.scopes[i]);
}

/** Where there is no such resource, the answer is that of one without grants. */
function choose(found: Found | undefined, request: AccessRequest, now: Date): TokenSource {
  const until = usableUntil(now);
  const usable = found?.grants.filter((grant) => grant.expiresAt >= until) ?? [];
  const { resource } = found ?? {};
  const chosen = selectGrant(usable, request, resource?.authorizationDetailsTypes ?? []);
  if (resource === undefined || !isSigningAlg(resource.tokenAlg)) {
    throw new BrokerError('internal', { internal: 'a grant without a resource, or an unknown algorithm' });
  }
  const { grant, selection } = chosen;
  // The grant's own strings: those of the request are parts of its whole body.
  const scopes = chosen.scopes.map((scope) => grant.scopes.find((own) => own === scope) ?? scope);
  const authorizationDetails = request.authorizationDetails ?? grant.authorizationDetails ?? undefined;
  const { tokenAlg: alg } = resource;
  return { resource, alg, grant, selection, scopes, scope: scopes.join(' '), authorizationDetails };
}

/** Whether policy still permits the use of a grant: a tightened policy bites on the next use. */
export interface UseDecisions {
  /** True or false under the policies that the engine holds; asks Cedar once for each distinct set of facts. */
  permits(source: TokenSource, use: Circumstances): boolean;
}

const hourMs = 3_600_000;
const longestKeyScope = 64;

/** Everything that a decision about one source depends on beside it. */
interface Use {
  epoch: bigint | undefined;
  hour: number;
  address: string;
  authMethod: string;
  delegated: boolean | undefined;
}

export function createUseDecisions(engine: PolicyEngine): UseDecisions {
  const decided = createBoundedCache<boolean>({ maxEntries: 20_000 });
  /** The last decision about each source that is still in use: an agent seldom moves. */
  const last = new WeakMap<TokenSource, Use & { permitted: boolean }>();

  function decide(source: TokenSource, use: Parameters<UseDecisions['permits']>[1]): boolean {
    const { grant, resource, scopes } = source;
    const { approvals, durationSeconds } = grant;
    const { catalogue } = resource;
    const current = { scopes, durationSeconds, catalogue, approvals, circumstances: use };
    return engine.decide(currentFacts(grant.facts, current)).decision === 'permit';
  }

  return {
    permits(source, use) {
      const { epoch } = engine;
      // Nothing in force has no epoch to be remembered under.
      if (epoch === undefined) return decide(source, use);
      const { address, authMethod, delegated } = use;
      const hour = Math.floor(use.now.getTime() / hourMs);
      const before = last.get(source);
      const now = { epoch, hour, address, authMethod, delegated };
      if (before !== undefined && isSameUse(before, now)) return before.permitted;
      const key = keyOfUse(source, now);
      const permitted = decided.get(key) ?? decide(source, use);
      decided.set(key, permitted);
      last.set(source, { ...now, permitted });
      return permitted;
    },
  };
}

function isSameUse(one: Use, other: Use): boolean {
  const sameTime = one.epoch === other.epoch && one.hour === other.hour;
  const sameDoer = one.authMethod === other.authMethod && one.delegated === other.delegated;
  return sameTime && sameDoer && one.address === other.address;
}

/** Address and method hold no space, ids neither; what was asked for comes last, and short: a client chooses it. */
function keyOfUse({ grant, resource, scope }: TokenSource, use: Use): string {
  const asked = scope.length > longestKeyScope ? sha256(scope).toString('base64url') : scope;
  const versions = [grant.id, grant.version, resource.version, use.epoch];
  const doer = [use.address, use.authMethod, use.delegated === true];
  return `${[...versions, use.hour, ...doer].join(' ')} ${asked}`;
}

/**
 * When a token minted at `now` ends: after `ttlSeconds`, but never after its grant or its agent. Seconds since the
 * epoch. Less than a second away: it cannot be minted.
 */
export function tokenExpiry(
  now: Date,
  ttlSeconds: number,
  ends: readonly (Date | null | undefined)[],
): number {
  let expiry = toEpochSeconds(now) + ttlSeconds;
  for (const end of ends) if (end) expiry = Math.min(expiry, toEpochSeconds(end));
  return expiry;
}
