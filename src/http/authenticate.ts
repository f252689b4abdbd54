import type { IncomingMessage } from 'node:http';
import type { Caller } from '../caller.ts';
import { BrokerError } from '../errors.ts';
import type { Exchange } from './edge.ts';
import { headerValues } from './header-values.ts';
import { pathOf } from './request-target.ts';

/**
 * The credential of a request. Invariant: authenticating the same object again means the same request again, not a
 * replay.
 */
export interface Credential {
  scheme: 'Bearer' | 'DPoP';
  token: string;
  /** The method and path that a DPoP proof must match (RFC 9449 section 4.2), and every proof that was sent. */
  dpop: { proofs: readonly string[]; method: string; path: string };
}

/** Returns the caller that a credential authenticates; undefined if it is not valid now. Injected by compose. */
export type Authenticator = (credential: Credential) => Promise<Caller | undefined>;

const maxTokenLength = 8192;
const schemes = { bearer: 'Bearer', dpop: 'DPoP' } as const;

const schemeOf = (request: IncomingMessage): string | undefined =>
  /^(Bearer|DPoP)(?: |$)/i.exec(request.headers.authorization ?? '')?.[1]?.toLowerCase();

/** The parameters of every `WWW-Authenticate` challenge. */
export interface ChallengeTerms {
  /** The algorithms that DPoP proofs may be signed with. */
  algs: readonly string[];
  /** The URL of the metadata of this protected resource (RFC 9728 section 5.1), if it has any. */
  resourceMetadata?: string;
}

/**
 * Returns the `WWW-Authenticate` header of a 401. It has an `error` only if the request had a credential (RFC 6750
 * section 3.1, RFC 9449 section 7.1).
 */
export function challengeOf(
  request: IncomingMessage,
  { challenge }: Pick<BrokerError, 'challenge'>,
  { algs, resourceMetadata }: ChallengeTerms,
): string {
  const scheme = schemeOf(request);
  const error = scheme === undefined ? '' : `, error="${challenge ?? 'invalid_token'}"`;
  const found = resourceMetadata === undefined ? '' : `, resource_metadata="${resourceMetadata}"`;
  const named = `algs="${algs.join(' ')}"${found}`;
  return scheme === 'dpop'
    ? `DPoP realm="hallpass"${error}, ${named}`
    : `Bearer realm="hallpass"${error}${found}, DPoP realm="hallpass", ${named}`;
}

/**
 * Reads the credential of a request (RFC 6750 section 2.1, RFC 9449 section 7.1). Throws `unauthenticated` if there
 * is no valid one, and `invalid-request` for several Authorization headers: Node would silently keep the first.
 */
export function readCredential(request: IncomingMessage, { method }: Pick<Exchange, 'method'>): Credential {
  const headers = headerValues(request, 'authorization');
  if (headers.length > 1)
    throw new BrokerError('invalid-request', { detail: 'several Authorization headers' });
  const match = /^(Bearer|DPoP) ([A-Za-z0-9._~+/=-]+)$/i.exec(headers[0] ?? '');
  const [, scheme = '', token] = match ?? [];
  if (token === undefined || token.length > maxTokenLength) throw new BrokerError('unauthenticated');
  return {
    scheme: schemes[scheme.toLowerCase() as keyof typeof schemes],
    token,
    dpop: { proofs: headerValues(request, 'dpop'), method, path: pathOf(request) },
  };
}
