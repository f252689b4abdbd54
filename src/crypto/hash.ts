import { hash, timingSafeEqual } from 'node:crypto';

/** SHA-256 (FIPS 180-4) of bytes, or of the UTF-8 of a text: 32 bytes. */
export function sha256(data: string | Buffer): Buffer {
  return hash('sha256', data, 'buffer');
}

/**
 * What is stored of a generated secret. A plain hash is enough: the secret carries 256 random bits, so there is
 * nothing to guess. Never for what people choose.
 */
export function hashSecret(secret: string): Buffer {
  return sha256(secret);
}

/** Whether two digests are equal, in time that depends on their length only. Unequal lengths: false. Never throws. */
export function equalDigests(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
