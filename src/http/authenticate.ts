import type { IncomingMessage } from 'node:http';
import type { Caller } from '../caller.ts';
import { BrokerError } from '../errors.ts';
import { headerValues } from './header-values.ts';

/** Turns a bearer credential into its caller, or undefined if it is not good now. Injected by compose. */
export type Authenticator = (credential: string) => Promise<Caller | undefined>;

const maxCredentialLength = 8192;

/** `WWW-Authenticate` of a 401: only who presented a bearer credential is told that it is no good (RFC 6750 section 3.1). */
export function bearerChallenge(request: IncomingMessage): string {
  const presented = /^Bearer(?: |$)/i.test(request.headers.authorization ?? '');
  return `Bearer realm="hallpass"${presented ? ', error="invalid_token"' : ''}`;
}

/**
 * The bearer credential of a request (RFC 6750 section 2.1). Throws `unauthenticated` if there is none and
 * `invalid-request` if there are several: Node would silently keep the first.
 */
export function readBearer(request: IncomingMessage): string {
  const headers = headerValues(request, 'authorization');
  if (headers.length > 1)
    throw new BrokerError('invalid-request', { detail: 'several Authorization headers' });
  const match = /^Bearer ([A-Za-z0-9._~+/=-]+)$/i.exec(headers[0] ?? '');
  const credential = match?.[1];
  if (credential === undefined || credential.length > maxCredentialLength)
    throw new BrokerError('unauthenticated');
  return credential;
}
