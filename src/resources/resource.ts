import type { DetailsType } from '../authorization-details/details-type.ts';
import { defaultSigningAlg, type SigningAlg } from '../crypto/algorithms.ts';
import type { Mapping } from '../engines/mapping.ts';
import type { EngineKind, TargetProblem } from '../engines/terms.ts';
import type { Risk } from '../grants/facts.ts';
import { canonicalJson } from '../platform/canonical-json.ts';
import type { Connection } from './connections/connection.ts';
import type { UpstreamView } from './upstreams/upstream.ts';

/**
 * What a resource is: an API that accepts access tokens (`api`), an API behind the gateway, which accepts them (`http`), or
 * a target of an engine.
 */
export type ResourceKind = 'api' | 'http' | EngineKind;

/** Whether a resource yields leases: accounts in a target. */
export function yieldsLeases(kind: ResourceKind): kind is EngineKind {
  return kind !== 'api' && kind !== 'http';
}

/** One privilege in a resource's catalogue. */
export interface Scope {
  /** A scope-token (RFC 6749 section 3.3). */
  name: string;
  description: string;
  risk: Risk;
  /** What it means in the target, or which requests it permits at the gateway; kind `api` has none. */
  mapping?: Mapping;
}

/** The last test of a target. */
export interface PreflightResult {
  at: Date;
  /** Empty if leases work. While it is not empty, no lease is made. */
  problems: readonly TargetProblem[];
}

/** The connection of a resource as admins see it. */
export interface ConnectionView extends Omit<Connection, 'resourceId' | 'kind' | 'createdAt' | 'createdBy'> {
  /** As the database writes it in JSON. */
  passwordChangedAt: string;
}

export interface Resource {
  id: string;
  /** An absolute URI (RFC 8707 section 2). Never changes. */
  identifier: string;
  name: string;
  kind: ResourceKind;
  /** Contains no duplicates. */
  labels: string[];
  scopes: Scope[];
  maxGrantSeconds: number;
  tokenTtlSeconds: number;
  tokenAlg: SigningAlg;
  /** Whether tokens for the resource must be bound to a key of the agent (RFC 9449). */
  requireBoundTokens: boolean;
  /** The types of authorization details that a grant may have (RFC 9396). */
  authorizationDetailsTypes: DetailsType[];
  /** Null if it yields no leases, or not yet. */
  connection: ConnectionView | null;
  /** Null unless its kind is `http`. */
  upstream: UpstreamView | null;
  /** Null if it has no connection. */
  preflight: PreflightResult | null;
  /** Credentials that were issued under an earlier epoch are permanently invalid. */
  epoch: number;
  /** Increases with every change. */
  version: number;
  createdAt: Date;
  createdBy: string;
  updatedAt: Date;
}

/** The defaults of a new resource. */
export const resourceDefaults = {
  labels: [],
  tokenTtlSeconds: 300,
  tokenAlg: defaultSigningAlg,
  requireBoundTokens: false,
  authorizationDetailsTypes: [],
} as const;

/** The characters of a URI without a fragment, with valid percent-encoding (RFC 3986 section 2). */
const uriCharacters = /^(?:[A-Za-z0-9\-._~:/?[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+$/;

/**
 * Describes why `text` cannot identify a resource; undefined if it can. It must be an absolute URI
 * without a fragment (RFC 8707 section 2) or userinfo, in the normal form of WHATWG URL (an empty path needs no
 * slash), so that a comparison as text is exact. It must not be the issuer, the origin of the gateway or a URI under one
 * of them, because the broker is itself the resource server of these. It may end with at most one slash, so that identifiers which differ by one
 * trailing slash mean the same resource.
 */
export function checkIdentifier(
  text: string,
  { issuer, gatewayUrl }: { issuer: string; gatewayUrl: string | undefined },
): string | undefined {
  if (/\s/.test(text)) return 'identifier must not have whitespace';
  if (!URL.canParse(text)) return 'identifier must be an absolute URI';
  if (text.includes('#')) return 'identifier must not have a fragment';
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'identifier must not have userinfo';
  if (url.origin === issuer) return 'identifier must not be the issuer or under it';
  if (url.origin === gatewayUrl) return 'identifier must not be the gateway or under it';
  if (url.href !== text && !(url.pathname === '/' && url.href === `${text}/`)) {
    return `identifier must be in its normal form: ${url.href}`;
  }
  if (!uriCharacters.test(text)) return 'identifier has characters that a URI does not have';
  if (text.endsWith('//')) return 'identifier must not end with two slashes';
  return undefined;
}

/** Returns every identifier of the same resource: itself, and with one trailing slash more or less. */
export function sameIdentifiers(identifier: string): string[] {
  const same = [identifier, `${identifier}/`];
  return identifier.endsWith('/') ? [...same, identifier.slice(0, -1)] : same;
}

/**
 * Whether `requested` identifies the resource that is registered as `registered`. One trailing slash makes no
 * difference.
 */
export function sameIdentifier(requested: string, registered: string): boolean {
  return sameIdentifiers(requested).includes(registered);
}

/** Returns the first name that two scopes share; undefined if all names are distinct. */
export function findDuplicateScope(scopes: readonly Pick<Scope, 'name'>[]): string | undefined {
  const seen = new Set<string>();
  for (const { name } of scopes) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}

const riskOrder: Record<Risk, number> = { low: 0, medium: 1, high: 2 };

const mappingOf = ({ mapping }: Scope): string => canonicalJson(mapping ?? null);

/** Returns the mappings of the scopes with these names. */
export function mappingsOf(scopes: readonly Scope[], names?: readonly string[]): Mapping[] {
  return scopes.flatMap(({ name, mapping }) =>
    mapping === undefined || names?.includes(name) === false ? [] : [mapping],
  );
}

/**
 * Returns the names of the scopes whose grants end: removed, now with a higher risk, or with another mapping. A lower
 * risk or another description ends no grant.
 */
export function endedScopes(before: readonly Scope[], after: readonly Scope[]): string[] {
  const now = new Map(after.map((scope) => [scope.name, scope]));
  const isEnded = (scope: Scope): boolean => {
    const same = now.get(scope.name);
    if (same === undefined || mappingOf(same) !== mappingOf(scope)) return true;
    return riskOrder[same.risk] > riskOrder[scope.risk];
  };
  return before.filter(isEnded).map((scope) => scope.name);
}

/**
 * Returns the names of the scopes that an approver would see differently now: removed, or with another description,
 * risk or mapping.
 */
export function changedScopes(before: readonly Scope[], after: readonly Scope[]): string[] {
  const textOf = (scope: Scope): string => `${scope.risk} ${mappingOf(scope)} ${scope.description}`;
  const texts = new Map(after.map((scope) => [scope.name, textOf(scope)]));
  return before.filter((scope) => texts.get(scope.name) !== textOf(scope)).map(({ name }) => name);
}
