import type { KeyObject } from 'node:crypto';
import { exportPrivateKey, importPrivateKey, type SigningAlg } from '../crypto/algorithms.ts';
import type { Envelope, Place } from '../crypto/envelope.ts';

interface Owner {
  kid: string;
  alg: SigningAlg;
}

const placeOf = (kid: string): Place => ({ table: 'signing_keys', column: 'private_sealed', row: kid });

/** Encrypts a private key for storage, bound to the row of its `kid`. */
export function sealPrivateKey(envelope: Envelope, kid: string, privateKey: KeyObject): Buffer {
  const der = exportPrivateKey(privateKey);
  try {
    return envelope.seal(der, placeOf(kid));
  } finally {
    der.fill(0);
  }
}

/**
 * Decrypts the private key of `key`. Throws EnvelopeError, which names the row, if it was encrypted for another row
 * or under an unknown master key; Error if it is not a key for `alg`.
 */
export function openPrivateKey(
  envelope: Envelope,
  { kid, alg, privateSealed }: Owner & { privateSealed: Buffer },
): KeyObject {
  const der = envelope.open(privateSealed, placeOf(kid));
  try {
    return importPrivateKey(alg, der);
  } finally {
    der.fill(0);
  }
}

/**
 * Encrypts the same private key again under the current master key. Throws EnvelopeError if `privateSealed` cannot be
 * decrypted.
 */
export function resealPrivateKey(
  envelope: Envelope,
  { kid, privateSealed }: { kid: string; privateSealed: Buffer },
): Buffer {
  const der = envelope.open(privateSealed, placeOf(kid));
  try {
    return envelope.seal(der, placeOf(kid));
  } finally {
    der.fill(0);
  }
}
