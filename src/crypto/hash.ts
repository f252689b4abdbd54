import { hash, timingSafeEqual } from 'node:crypto';

/** Computes SHA-256 (FIPS 180-4) of bytes, or of a string in UTF-8: 32 bytes. */
export function sha256(data: string | Buffer): Buffer {
  return hash('sha256', data, 'buffer');
}

/**
 * Computes the digest under which a generated secret is stored. A plain hash is enough, because the secret has 256
 * random bits and cannot be guessed. Must not be used for passwords that people choose.
 */
export function hashSecret(secret: string): Buffer {
  return sha256(secret);
}

/**
 * Whether two digests are equal, in time that depends only on their length. False if their lengths differ. Never
 * throws.
 */
export function equalDigests(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
