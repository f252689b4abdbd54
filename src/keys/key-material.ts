import type { KeyObject } from 'node:crypto';
import { exportPrivateKey, importPrivateKey, type SigningAlg } from '../crypto/algorithms.ts';
import type { Envelope, Place } from '../crypto/envelope.ts';

interface Owner {
  kid: string;
  alg: SigningAlg;
}

const placeOf = (kid: string): Place => ({ table: 'signing_keys', column: 'private_sealed', row: kid });

/** The private half as it is stored: sealed for the row of its key and no other. */
export function sealPrivateKey(envelope: Envelope, kid: string, privateKey: KeyObject): Buffer {
  const der = exportPrivateKey(privateKey);
  try {
    return envelope.seal(der, placeOf(kid));
  } finally {
    der.fill(0);
  }
}

/**
 * The private half of `key`. Throws EnvelopeError, which names the row, if it was not sealed for that row and under a
 * master key of ours; Error if it is not one for `alg`.
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

/** The same private half, sealed under the current master key. Throws EnvelopeError if `privateSealed` does not open. */
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
