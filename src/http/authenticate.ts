import type { IncomingMessage } from 'node:http';
import type { Caller } from '../caller.ts';
import { BrokerError } from '../errors.ts';
import type { Exchange } from './edge.ts';
import { headerValues } from './header-values.ts';
import { pathOf } from './request-target.ts';

/** What a request shows of who sends it. The same object is the same request, however often it is looked at. */
export interface Credential {
  scheme: 'Bearer' | 'DPoP';
  token: string;
  /** What a proof of possession is about (RFC 9449 section 4.2), and every proof that came. */
  dpop: { proofs: readonly string[]; method: string; path: string };
}

/** Turns a credential into its caller, or undefined if it is not good now. Injected by compose. */
export type Authenticator = (credential: Credential) => Promise<Caller | undefined>;

const maxTokenLength = 8192;
const schemes = { bearer: 'Bearer', dpop: 'DPoP' } as const;

const schemeOf = (request: IncomingMessage): string | undefined =>
  /^(Bearer|DPoP)(?: |$)/i.exec(request.headers.authorization ?? '')?.[1]?.toLowerCase();

/** What every challenge says of how to authenticate. */
export interface ChallengeTerms {
  /** What DPoP proofs may be signed with. */
  algs: readonly string[];
  /** Where the metadata of this protected resource is (RFC 9728 section 5.1): a URL. */
  resourceMetadata: string;
}

/**
 * `WWW-Authenticate` of a 401: only who presented a credential is told that it is no good (RFC 6750 section 3.1, RFC 9449
 * section 7.1).
 */
export function challengeOf(
  request: IncomingMessage,
  { challenge }: Pick<BrokerError, 'challenge'>,
  { algs, resourceMetadata }: ChallengeTerms,
): string {
  const scheme = schemeOf(request);
  const error = scheme === undefined ? '' : `, error="${challenge ?? 'invalid_token'}"`;
  const found = `resource_metadata="${resourceMetadata}"`;
  const named = `algs="${algs.join(' ')}", ${found}`;
  return scheme === 'dpop'
    ? `DPoP realm="hallpass"${error}, ${named}`
    : `Bearer realm="hallpass"${error}, ${found}, DPoP realm="hallpass", ${named}`;
}

/**
 * The credential of a request (RFC 6750 section 2.1, RFC 9449 section 7.1). Throws `unauthenticated` if there is none and
 * `invalid-request` if there are several: Node would silently keep the first.
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
