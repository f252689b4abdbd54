import { createHash } from 'node:crypto';

const sha1 = (data: string | Buffer): Buffer => createHash('sha1').update(data).digest();

/**
 * Computes what proves the password in a login with mysql_native_password (MariaDB, Authentication Plugin - mysql_native_password):
 * its SHA-1. A connection that has only this cannot send the password in any other form that a server asks for.
 */
export function computeProof(password: string): Buffer {
  return sha1(password);
}

/**
 * Computes what MariaDB stores for a password: `*` and the SHA-1 of its SHA-1 in hexadecimal. A server that gets this string never sees the
 * password itself. The hash is fast and has no salt, which is acceptable only because the passwords have 256 random bits.
 */
export function computeVerifier(password: string): string {
  return `*${sha1(computeProof(password)).toString('hex').toUpperCase()}`;
}
