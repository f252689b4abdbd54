import type { KeyObject } from 'node:crypto';
import { calculateJwkThumbprint } from 'jose';
import { type PublicKey, parseKeySet, readKeySet } from './key-set.ts';
import { OutboundFailure } from './outbound-failure.ts';

/** A public JWK as an admin registers it (RFC 7517 section 4). */
export type Jwk = { kty: string } & { [member: string]: unknown };

/** A JWK Set (RFC 7517 section 5). */
export interface JwkSet {
  keys: Jwk[];
}

/** The most keys in a registered set. A set at a URL may have more. */
const maxInlineKeys = 20;

const supported = 'RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519';

/**
 * Describes what is wrong with a set that is being registered; undefined if it is valid. Keys for other purposes are
 * ignored, as in a published set (RFC 7517 section 5), but at least one key must be usable, and a `kid` must be
 * unique per algorithm.
 */
export function keySetProblem(jwks: JwkSet): string | undefined {
  try {
    const { usable, unusable } = readKeySet(jwks);
    if (usable.length > maxInlineKeys) return `jwks holds more than ${maxInlineKeys} keys`;
    if (usable.length === 0) {
      const reasons = unusable.slice(0, 3).map(({ index, reason }) => `keys[${index}] ${reason}`);
      return `jwks has no usable key (${supported}): ${reasons.join('; ') || 'it is empty'}`;
    }
    const isAmbiguous = usable.some((key, i) =>
      usable.slice(i + 1).some((other) => fitSameToken(key, other)),
    );
    return isAmbiguous
      ? 'each of several keys in jwks for the same algorithm needs a kid of its own'
      : undefined;
  } catch (error) {
    if (!(error instanceof OutboundFailure)) throw error;
    return 'jwks must contain only public keys';
  }
}

/** Whether the header of a JWT can match both keys: they have the same `kid` and an algorithm in common. */
function fitSameToken(one: PublicKey, other: PublicKey): boolean {
  if (one.kid !== other.kid) return false;
  if (one.alg !== undefined && other.alg !== undefined && one.alg !== other.alg) return false;
  return typeOf(one.key) === typeOf(other.key);
}

function typeOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  return `${asymmetricKeyType} ${asymmetricKeyDetails?.namedCurve ?? ''}`;
}

/**
 * Describes what is wrong with a `jwks_uri`; undefined if it is valid. `isFetchable` returns whether the broker may request
 * a URL.
 */
export function keyUrlProblem(url: string, isFetchable: (url: string) => boolean): string | undefined {
  return isFetchable(url) ? undefined : 'jwks_uri must be an https URL at an address that may be called';
}

/** Returns the RFC 7638 thumbprints of the usable keys of a set. Audit events identify keys by them. */
export function thumbprintsOf(jwks: JwkSet): Promise<string[]> {
  return Promise.all(parseKeySet(jwks).map(({ key }) => calculateJwkThumbprint(key)));
}

/** Describes the usable keys of a set by what decides which JWTs they verify: `kid`, `alg` and thumbprint. */
export function nameKeys(jwks: JwkSet): Promise<string[]> {
  return Promise.all(
    parseKeySet(jwks).map(async ({ kid, alg, key }) =>
      JSON.stringify([kid, alg, await calculateJwkThumbprint(key)]),
    ),
  );
}

/** Returns the URL of an issuer's metadata (OpenID Connect Discovery section 4.1). */
export function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
}
