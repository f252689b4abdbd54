import { sha256 } from '../../crypto/hash.ts';

export const saltBytes = 4;

/** The members of a user that say how its password is stored. */
export interface StoredPassword {
  password_hash: string;
  hashing_algorithm: 'rabbit_password_hashing_sha256';
}

/** With this in place of a hash, RabbitMQ accepts no password at all (RabbitMQ manual, Credentials and Passwords). */
export const noPassword: StoredPassword = {
  password_hash: '',
  hashing_algorithm: 'rabbit_password_hashing_sha256',
};

/**
 * Computes what RabbitMQ stores for a password: the salt and the SHA-256 of salt and password, in base64 (RabbitMQ manual,
 * Credentials and Passwords). A server that gets this never sees the password itself. One round is enough, because a
 * generated password has 256 random bits.
 *
 * @param salt 4 random bytes
 */
export function hashPassword(password: string, salt: Buffer): StoredPassword {
  const digest = sha256(Buffer.concat([salt, Buffer.from(password)]));
  return { ...noPassword, password_hash: Buffer.concat([salt, digest]).toString('base64') };
}
