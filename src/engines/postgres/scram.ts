import { createHmac, pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import { sha256 } from '../../crypto/hash.ts';

const derive = promisify(pbkdf2);

/** The default of PostgreSQL and the minimum of RFC 7677 section 4. A password of 256 random bits needs no more. */
const iterations = 4096;
const keyBytes = 32;
export const saltBytes = 16;

/**
 * Computes what PostgreSQL stores for a password: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (RFC 5802
 * section 3, RFC 7677; PostgreSQL manual, pg_authid). A server that gets this string never sees the password itself.
 *
 * @param password printable ASCII, which SASLprep (RFC 4013) leaves as it is; throws a TypeError for any other
 * @param salt 16 random bytes
 */
export async function computeVerifier(password: string, salt: Buffer): Promise<string> {
  if (!/^[\x21-\x7e]+$/.test(password)) throw new TypeError('the password is not printable ASCII');
  const saltedPassword = await derive(password, salt, iterations, keyBytes, 'sha256');
  const hmac = (text: string): Buffer => createHmac('sha256', saltedPassword).update(text).digest();
  const storedKey = sha256(hmac('Client Key')).toString('base64');
  const serverKey = hmac('Server Key').toString('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}
