import { X509Certificate } from 'node:crypto';
import { comparableName, isConnectionHeader, isGatewayHeader } from './header-names.ts';
import { isAtOneOf } from './own-origins.ts';

/** How the gateway authenticates to an upstream, without the secret. `none`: the upstream has no authentication. */
export type UpstreamCredential =
  | { type: 'bearer' }
  | { type: 'header'; name: string }
  | { type: 'basic'; username: string }
  | { type: 'none' };

/** The API behind a resource of kind `http`. */
export interface Upstream {
  resourceId: string;
  /** The first segment of its path at the gateway. Never changes, and no other resource ever has it. */
  slug: string;
  /** An absolute URL in normal form, without a trailing slash. */
  baseUrl: string;
  protocol: 'plain';
  credential: UpstreamCredential;
  /** The certificates (PEM) to trust; null for those of the system. */
  ca: string | null;
  connectSeconds: number;
  /** How long the gateway waits for the headers of a response. */
  responseSeconds: number;
  /** How long the gateway waits for the next part of a body. */
  idleSeconds: number;
}

/** The upstream of a resource as admins see it. */
export type UpstreamView = Omit<Upstream, 'resourceId'>;

/** The members of an upstream that may change. */
export type UpstreamSettings = Omit<UpstreamView, 'slug' | 'protocol'>;

/** A secret of an upstream as admins see it. */
export interface UpstreamCredentialView {
  /** `upc_...` */
  id: string;
  createdAt: Date;
  createdBy: string;
  /** When calls begin to use it. */
  activatesAt: Date;
}

/** The authentication to an upstream as an admin writes it. */
export interface CredentialInput {
  type: UpstreamCredential['type'];
  name?: string | undefined;
  username?: string | undefined;
  secret?: string | undefined;
}

/** What an admin writes of an upstream. A member that is left out does not change, or has its default. */
export interface UpstreamTerms {
  baseUrl?: string | undefined;
  credential?: CredentialInput | undefined;
  tls?: { ca?: string | undefined } | undefined;
  timeouts?:
    | {
        connectSeconds?: number | undefined;
        responseSeconds?: number | undefined;
        idleSeconds?: number | undefined;
      }
    | undefined;
}

/** The upstream of a new resource as an admin writes it. */
export interface NewUpstream extends UpstreamTerms {
  baseUrl: string;
  protocol: Upstream['protocol'];
  credential: CredentialInput;
}

/** Paths of the gateway itself. */
const reservedSlugs: ReadonlySet<string> = new Set(['livez', 'readyz', 'healthz', 'metrics']);

/** Describes why `slug` cannot be the slug of a resource; undefined if it can. */
export function slugProblem(slug: string): string | undefined {
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(slug)) {
    return 'slug must be 1 to 63 characters of a-z, 0-9 and -, and must not begin with -';
  }
  return reservedSlugs.has(slug) ? `slug ${slug} is reserved` : undefined;
}

/** Removes a trailing slash from a base URL. */
export function toBaseUrl(text: string): string {
  return text.endsWith('/') ? text.slice(0, -1) : text;
}

const pathCharacters = /^(?:[A-Za-z0-9\-._~/@!$&'()*+,=:]|%[0-9A-Fa-f]{2})*$/;

/**
 * Describes why `text` cannot be a base URL; undefined if it can. It is an absolute http or https URL in the normal form
 * of WHATWG URL, so that the path which is appended to it means the same to every server. `ownOrigins` are those of
 * the broker and the gateway, at which no upstream may be.
 */
export function baseUrlProblem(text: string, ownOrigins: readonly string[]): string | undefined {
  if (!/^https?:/i.test(text) || !URL.canParse(text)) return 'base_url must be an absolute https or http URL';
  const url = new URL(text);
  if (url.username !== '' || url.password !== '') return 'base_url must not have userinfo';
  if (text.includes('?')) return 'base_url must not have a query';
  if (text.includes('#')) return 'base_url must not have a fragment';
  if (toBaseUrl(url.href) !== toBaseUrl(text)) {
    return `base_url must be in its normal form: ${toBaseUrl(url.href)}`;
  }
  if (/%(?:2f|5c)/i.test(url.pathname)) return 'base_url must not have an encoded slash';
  if (url.pathname.includes('//')) return 'base_url must not have an empty segment';
  if (!pathCharacters.test(url.pathname))
    return 'base_url has a character that the path of a URL must not have';
  return isAtOneOf(url, ownOrigins) ? 'base_url must not be at the broker or its gateway' : undefined;
}

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}$/;

/** Describes why a header of this name cannot hold a credential; undefined if it can. */
export function headerNameProblem(name: string): string | undefined {
  if (!token.test(name)) return 'the name of the header must be a token (RFC 9110), 1 to 100 characters';
  const comparable = comparableName(name);
  if (comparable === 'authorization') {
    return 'the header Authorization is set by the credential types bearer and basic';
  }
  return isConnectionHeader(comparable) || isGatewayHeader(comparable)
    ? `the header ${name} cannot hold a credential`
    : undefined;
}

/** Describes what is wrong with the secret of an upstream, without showing it; undefined if it may be used. */
export function secretProblem(secret: string): string | undefined {
  if (secret.length < 1 || secret.length > 8192) return 'secret must be 1 to 8192 characters';
  if (!/^[\x20-\x7e]+$/.test(secret)) return 'secret must be printable ASCII characters';
  // HTTP removes it from the value of a header (RFC 9110 section 5.5), so another value would be sent.
  return secret !== secret.trim() ? 'secret must not begin or end with a space' : undefined;
}

type CredentialMember = 'name' | 'username' | 'secret';

/** The members that each type of credential has. */
const membersOf: Record<UpstreamCredential['type'], readonly CredentialMember[]> = {
  bearer: ['secret'],
  header: ['name', 'secret'],
  basic: ['username', 'secret'],
  none: [],
};

/** Describes what is wrong with a credential; undefined if it may be used. */
export function credentialProblem(credential: CredentialInput): string | undefined {
  const { type, name, username, secret } = credential;
  for (const member of ['name', 'username', 'secret'] as const) {
    const isNeeded = membersOf[type].includes(member);
    if (isNeeded && credential[member] === undefined) return `a credential of type ${type} needs ${member}`;
    if (!isNeeded && credential[member] !== undefined) return `a credential of type ${type} has no ${member}`;
  }
  const nameProblem = name === undefined ? undefined : headerNameProblem(name);
  if (nameProblem !== undefined) return nameProblem;
  // A colon ends the username (RFC 7617 section 2).
  if (username !== undefined && !/^[\x20-\x39\x3b-\x7e]{0,256}$/.test(username)) {
    return 'username must be at most 256 printable ASCII characters other than a colon';
  }
  return secret === undefined ? undefined : secretProblem(secret);
}

/** Describes why `text` is not a list of certificates to trust; undefined if it is. */
export function caProblem(text: string): string | undefined {
  const certificates = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  const isReadable = (certificate: string): boolean => {
    try {
      return new X509Certificate(certificate).raw.length > 0;
    } catch {
      return false;
    }
  };
  return certificates.length > 0 && certificates.every(isReadable)
    ? undefined
    : 'tls.ca must be one or more certificates (PEM)';
}

/** Describes what is wrong with the terms of an upstream; undefined if nothing is. */
export function termsProblem(terms: UpstreamTerms, ownOrigins: readonly string[]): string | undefined {
  const { baseUrl, credential, tls } = terms;
  return (
    (baseUrl === undefined ? undefined : baseUrlProblem(baseUrl, ownOrigins)) ??
    (credential === undefined ? undefined : credentialProblem(credential)) ??
    (tls?.ca === undefined ? undefined : caProblem(tls.ca))
  );
}

/** Returns the credential without its secret. Its members are those that its type needs. */
function toCredential({ type, name = '', username = '' }: CredentialInput): UpstreamCredential {
  if (type === 'header') return { type, name };
  return type === 'basic' ? { type, username } : { type };
}

/** The values of timeouts that are not given. */
export const defaultTimeouts = { connectSeconds: 5, responseSeconds: 60, idleSeconds: 60 } as const;

/** Returns an upstream with the given terms. Each given member replaces the old one as a whole: timeouts without a value get their defaults. */
export function applyTerms(before: UpstreamSettings, terms: UpstreamTerms): UpstreamSettings {
  const { baseUrl, credential, tls, timeouts } = terms;
  const { connectSeconds, responseSeconds, idleSeconds } = timeouts ?? before;
  return {
    baseUrl: baseUrl === undefined ? before.baseUrl : toBaseUrl(baseUrl),
    credential: credential === undefined ? before.credential : toCredential(credential),
    ca: tls === undefined ? before.ca : (tls.ca ?? null),
    connectSeconds: connectSeconds ?? defaultTimeouts.connectSeconds,
    responseSeconds: responseSeconds ?? defaultTimeouts.responseSeconds,
    idleSeconds: idleSeconds ?? defaultTimeouts.idleSeconds,
  };
}

/**
 * Whether a change would send the stored secret to another URL, or to a server that other certificates make trusted.
 * The admin who makes the change may not know the secret.
 */
export function sendsSecretElsewhere(before: UpstreamSettings, terms: UpstreamTerms): boolean {
  if (before.credential.type === 'none' || terms.credential !== undefined) return false;
  const after = applyTerms(before, terms);
  return after.baseUrl !== before.baseUrl || after.ca !== before.ca;
}
