import { calculateJwkThumbprint, type JWK } from 'jose';
import { parseKeySet } from './key-set.ts';
import { OutboundFailure } from './outbound-failure.ts';

/** A key as it was given (RFC 7517 section 4). */
export type Jwk = { kty: string } & { [member: string]: unknown };

/** A JWK Set (RFC 7517 section 5). */
export interface JwkSet {
  keys: Jwk[];
}

/** More are read where somebody publishes them. */
const maxInlineKeys = 20;

/**
 * Says what is wrong with a set that somebody registers; undefined if nothing is. Every key must be of use: who registers
 * one that is not would find out only when what it signed is refused.
 */
export function keySetProblem(jwks: JwkSet): string | undefined {
  try {
    const usable = parseKeySet(jwks);
    if (usable.length > maxInlineKeys) return `jwks holds more than ${maxInlineKeys} keys`;
    if (new Set(usable.map(({ kid }) => kid)).size < usable.length)
      return 'each of several keys in jwks needs a kid of its own';
    if (usable.length > 0 && usable.length === jwks.keys.length) return undefined;
    return 'every key in jwks must be a public signature key: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519';
  } catch (error) {
    if (!(error instanceof OutboundFailure)) throw error;
    return 'jwks must hold public keys alone';
  }
}

/** Says what is wrong with where a set is to be read; undefined if nothing is. `isFetchable`: whether we would call it. */
export function keyUrlProblem(url: string, isFetchable: (url: string) => boolean): string | undefined {
  return isFetchable(url) ? undefined : 'jwks_uri must be an https URL at an address that may be called';
}

/** The keys of a set as a record names them (RFC 7638). */
export function thumbprintsOf({ keys }: JwkSet): Promise<string[]> {
  return Promise.all(keys.map((key) => calculateJwkThumbprint(key as JWK)));
}

/** Where an issuer says what its keys are (OpenID Connect Discovery section 4.1). */
export function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
}
