import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { OutboundFailure } from './outbound-failure.ts';

/** A public key that somebody else signs with. */
export interface PublicKey {
  kid: string | undefined;
  /** The one algorithm that it is for, if its owner says so. */
  alg: string | undefined;
  key: KeyObject;
}

const maxKeys = 100;
const maxNameLength = 256;
const minRsaBits = 2_048;
/** What a key that signs JWTs may be for; `jwt-svid` is how a SPIFFE bundle says it (SPIFFE Trust Domain and Bundle section 4.2). */
const uses: unknown[] = ['sig', 'jwt-svid'];
/** Members of private and symmetric keys (RFC 7518 section 6). */
const secretMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

/** What a key of each type must be to be used at all (RFC 7518 section 6, RFC 8037). */
const acceptable: Record<string, (jwk: JsonWebKey, key: KeyObject) => boolean> = {
  RSA: (_jwk, key) => (key.asymmetricKeyDetails?.modulusLength ?? 0) >= minRsaBits,
  EC: ({ crv = '' }) => ['P-256', 'P-384', 'P-521'].includes(crv),
  OKP: ({ crv }) => crv === 'Ed25519',
};

/**
 * The signature keys of a JWK Set (RFC 7517 section 5). What is for something else, of a type or size that is not used, or
 * malformed is left out, as the RFC has it. Throws `not-a-key-set` for what is no set, one of more than 100 keys, and one
 * that shows a private or symmetric key: whoever publishes that has lost it.
 */
export function parseKeySet(document: unknown): PublicKey[] {
  if (!isObject(document) || !Array.isArray(document.keys) || document.keys.length > maxKeys) {
    throw new OutboundFailure('not-a-key-set');
  }
  const keys = document.keys.filter(isObject);
  if (keys.some((jwk) => secretMembers.some((name) => name in jwk)))
    throw new OutboundFailure('not-a-key-set');
  return keys.flatMap((jwk) => toPublicKey(jwk) ?? []);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isName(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && value.length <= maxNameLength);
}

function toPublicKey(jwk: Record<string, unknown>): PublicKey | undefined {
  const { kid, alg, use = 'sig', key_ops: operations = ['verify'] } = jwk;
  if (!uses.includes(use) || !Array.isArray(operations) || !operations.includes('verify')) return undefined;
  if (!isName(kid) || !isName(alg)) return undefined;
  try {
    const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' });
    return acceptable[String(jwk.kty)]?.(jwk as JsonWebKey, key) === true ? { kid, alg, key } : undefined;
  } catch {
    return undefined;
  }
}
