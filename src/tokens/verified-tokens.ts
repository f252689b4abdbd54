import type { KeyObject } from 'node:crypto';
import { sha256 } from '../crypto/hash.ts';
import { type JwtVerification, verifyJwt } from '../crypto/jwt.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import type { ActivityQuery } from './store/read-activity.ts';

export type VerifiedToken = Extract<JwtVerification, { ok: true }>;

export interface VerifiedTokens {
  /**
   * Verifies that this server signed the token, which may have expired; undefined for
   * any other text. Reads a key that this replica does not know yet from the database.
   */
  verify(token: string): Promise<VerifiedToken | undefined>;
}

interface Memory {
  token: VerifiedToken;
  publicKey: KeyObject;
}

/**
 * Verifies tokens, and caches by the digest of the text that the signature is valid: resource servers
 * introspect the same token repeatedly, and the signature is most of the cost. Nothing else is cached,
 * and only while the key is published: whether the token is active is read from the database each time,
 * by its `jti`. Another encoding of the same token is a different text, which is verified separately.
 */
export function createVerifiedTokens({
  ring,
  issuer,
}: {
  ring: Pick<KeyRing, 'verificationKey' | 'refreshForUnknown'>;
  issuer: string;
}): VerifiedTokens {
  const known = createBoundedCache<Memory>();
  const options = { keys: ring.verificationKey, typ: 'at+jwt', issuer };

  function recall(digest: string): VerifiedToken | undefined {
    const memory = known.get(digest);
    const isPublished =
      memory !== undefined && ring.verificationKey(memory.token.kid)?.publicKey === memory.publicKey;
    return isPublished ? memory.token : undefined;
  }

  function look(token: string, digest: string): JwtVerification {
    const result = verifyJwt(token, options);
    const publicKey = result.ok ? ring.verificationKey(result.kid)?.publicKey : undefined;
    if (result.ok && publicKey !== undefined) known.set(digest, { token: result, publicKey });
    return result;
  }

  return {
    async verify(token) {
      const digest = sha256(token).toString('base64url');
      const remembered = recall(digest);
      if (remembered !== undefined) return remembered;
      const result = look(token, digest);
      if (result.ok) return result;
      if (result.reason !== 'unknown-key') return undefined;
      await ring.refreshForUnknown();
      const again = look(token, digest);
      return again.ok ? again : undefined;
    },
  };
}

/** The columns by which the row of a token is found. */
export type TokenKey = Pick<ActivityQuery, 'jti' | 'exp' | 'kid'>;

/** Returns the key of a token's row; null for each member for a text that is not a token of this server. */
export function rowKeyOf(token: VerifiedToken | undefined): TokenKey {
  return { jti: token?.claims.jti ?? null, exp: token?.claims.exp ?? null, kid: token?.kid ?? null };
}
