import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { OutboundFailure } from './outbound-failure.ts';

/** A public key with which JWTs of another party are verified. */
export interface PublicKey {
  kid: string | undefined;
  /** The only algorithm that the key may be used with; undefined if its owner does not say. */
  alg: string | undefined;
  key: KeyObject;
}

const maxKeys = 100;
/** The longest `kid` or `alg`. */
const maxNameLength = 256;
const minRsaBits = 2_048;
/** The values of `use` of a key that signs JWTs. SPIFFE bundles have `jwt-svid` (SPIFFE Trust Domain and Bundle section 4.2). */
const uses: unknown[] = ['sig', 'jwt-svid'];
/** The members of private and symmetric keys (RFC 7518 section 6). */
const secretMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

/** The requirements for a key of each type (RFC 7518 section 6, RFC 8037). */
const acceptable: Record<string, (jwk: JsonWebKey, key: KeyObject) => boolean> = {
  RSA: (_jwk, key) => (key.asymmetricKeyDetails?.modulusLength ?? 0) >= minRsaBits,
  EC: ({ crv = '' }) => ['P-256', 'P-384', 'P-521'].includes(crv),
  OKP: ({ crv }) => crv === 'Ed25519',
};

/** A key of a set that cannot be used to verify signatures, with the reason. */
export interface UnusableKey {
  /** The index of the key in `keys`. */
  index: number;
  reason: string;
}

/**
 * Reads the signature keys of a JWK Set (RFC 7517 section 5). A key is left out, with the reason, if it is malformed,
 * has another purpose, or has an unknown type, curve or size. Throws `not-a-key-set` for a document that is not a JWK
 * Set, a set of more than 100 keys, and a set with a private or symmetric key, because that key has leaked.
 */
export function readKeySet(document: unknown): { usable: PublicKey[]; unusable: UnusableKey[] } {
  if (!isObject(document) || !Array.isArray(document.keys) || document.keys.length > maxKeys) {
    throw new OutboundFailure('not-a-key-set');
  }
  const keys: unknown[] = document.keys;
  if (keys.some((jwk) => isObject(jwk) && secretMembers.some((name) => name in jwk)))
    throw new OutboundFailure('not-a-key-set');
  const read = keys.map((jwk) => (isObject(jwk) ? toPublicKey(jwk) : 'is not a JSON object'));
  return {
    usable: read.filter((key) => typeof key !== 'string'),
    unusable: read.flatMap((reason, index) => (typeof reason === 'string' ? [{ index, reason }] : [])),
  };
}

/** Reads the usable keys of a JWK Set. See `readKeySet`. */
export function parseKeySet(document: unknown): PublicKey[] {
  return readKeySet(document).usable;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isShortTextOrAbsent(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && value.length <= maxNameLength);
}

/** Reads a key, or returns the reason why it cannot be used. */
function toPublicKey(jwk: Record<string, unknown>): PublicKey | string {
  const { kid, alg, use = 'sig', key_ops: operations = ['verify'] } = jwk;
  if (!uses.includes(use)) return 'is not for signatures (use)';
  if (!Array.isArray(operations) || !operations.includes('verify')) return 'is not for verifying (key_ops)';
  if (!isShortTextOrAbsent(kid) || !isShortTextOrAbsent(alg))
    return 'has a kid or alg that is not a string of at most 256 characters';
  try {
    const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
    if (acceptable[String(jwk.kty)]?.(jwk as JsonWebKey, key) === true) return { kid, alg, key };
  } catch {
    return 'is malformed, or of an unknown type or curve';
  }
  return 'has a type, curve or size that is not supported';
}
