import type { DetailsType } from '../authorization-details/details-type.ts';
import { defaultSigningAlg, type SigningAlg } from '../crypto/algorithms.ts';

/** What credential a resource yields: `api`, a JWT access token. */
export type ResourceKind = 'api';

export type Risk = 'low' | 'medium' | 'high';

/** One privilege in a resource's catalogue. */
export interface Scope {
  /** A scope-token (RFC 6749 section 3.3). */
  name: string;
  description: string;
  risk: Risk;
}

export interface Resource {
  id: string;
  /** An absolute URI (RFC 8707 section 2), never changed. */
  identifier: string;
  name: string;
  kind: ResourceKind;
  /** A set. */
  labels: string[];
  scopes: Scope[];
  maxGrantSeconds: number;
  tokenTtlSeconds: number;
  tokenAlg: SigningAlg;
  /** Whether tokens for it are bound to a key of their agent (RFC 9449). */
  requireBoundTokens: boolean;
  /** The details that a grant for it may have (RFC 9396). */
  authorizationDetailsTypes: DetailsType[];
  /** What was issued under an older one is dead for ever. */
  epoch: number;
  /** Rises with every change. */
  version: number;
  createdAt: Date;
  createdBy: string;
  updatedAt: Date;
}

/** What a new resource has unless told otherwise. */
export const resourceDefaults = {
  labels: [],
  tokenTtlSeconds: 300,
  tokenAlg: defaultSigningAlg,
  requireBoundTokens: false,
  authorizationDetailsTypes: [],
} as const;

/** The characters of a URI without a fragment, percent-encoding complete (RFC 3986 section 2). */
const uriCharacters = /^(?:[A-Za-z0-9\-._~:/?[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+$/;

/**
 * What is wrong with `text` as the identifier of a resource; undefined if nothing is. It must be an absolute URI
 * without a fragment (RFC 8707 section 2) or userinfo, in its normal form, so that comparing it as text is exact:
 * as WHATWG URL serialises it, except that an empty path needs no slash. It is not the issuer and not under it, as
 * whose resource server we would else accept our own tokens. At most one slash at the end, so that whoever leaves
 * one out or adds one means one resource.
 */
export function checkIdentifier(text: string, issuer: string): string | undefined {
  if (/\s/.test(text)) return 'identifier must not have whitespace';
  if (!URL.canParse(text)) return 'identifier must be an absolute URI';
  if (text.includes('#')) return 'identifier must not have a fragment';
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'identifier must not have userinfo';
  if (url.origin === issuer) return 'identifier must not be the issuer or under it';
  if (url.href !== text && !(url.pathname === '/' && url.href === `${text}/`)) {
    return `identifier must be in its normal form: ${url.href}`;
  }
  if (!uriCharacters.test(text)) return 'identifier has characters that a URI does not have';
  if (text.endsWith('//')) return 'identifier must not end with two slashes';
  return undefined;
}

/** Every identifier that means the same resource: itself, and with one trailing slash more or less. */
export function sameIdentifiers(identifier: string): string[] {
  const same = [identifier, `${identifier}/`];
  return identifier.endsWith('/') ? [...same, identifier.slice(0, -1)] : same;
}

/** Whether `asked` means the resource that is registered as `registered`: exactly, or but for one trailing slash. */
export function sameIdentifier(asked: string, registered: string): boolean {
  return sameIdentifiers(asked).includes(registered);
}

/** The first name that two scopes share; undefined if every name is used once. */
export function findDuplicateScope(scopes: readonly Pick<Scope, 'name'>[]): string | undefined {
  const seen = new Set<string>();
  for (const { name } of scopes) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}

const riskOrder: Record<Risk, number> = { low: 0, medium: 1, high: 2 };

/**
 * The names of the scopes that are worth no more what was decided about them: taken out, or of a higher risk. A
 * lower risk or another description ends no grant.
 */
export function endedScopes(before: readonly Scope[], after: readonly Scope[]): string[] {
  const risks = new Map(after.map((scope) => [scope.name, riskOrder[scope.risk]]));
  const isEnded = ({ name, risk }: Scope): boolean => (risks.get(name) ?? Infinity) > riskOrder[risk];
  return before.filter(isEnded).map((scope) => scope.name);
}

/** The names of the scopes of which an approver would read something else now: taken out, another text or risk. */
export function changedScopes(before: readonly Scope[], after: readonly Scope[]): string[] {
  const texts = new Map(after.map(({ name, description, risk }) => [name, `${risk} ${description}`]));
  return before
    .filter(({ name, description, risk }) => texts.get(name) !== `${risk} ${description}`)
    .map(({ name }) => name);
}
