import type { KeyObject } from 'node:crypto';
import { sha256 } from '../crypto/hash.ts';
import { type JwtVerification, verifyJwt } from '../crypto/jwt.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import type { ActivityQuery } from './store.ts';

export type VerifiedToken = Extract<JwtVerification, { ok: true }>;

export interface VerifiedTokens {
  /**
   * A token that we signed, expired or not; undefined for any other text. A key that this replica has not seen yet is
   * looked for in the database.
   */
  verify(token: string): Promise<VerifiedToken | undefined>;
}

interface Memory {
  token: VerifiedToken;
  publicKey: KeyObject;
}

/**
 * Remembers that a text was signed by a key, by the digest of the text: a resource server asks about the same token again
 * and again, and its signature is most of what an answer costs. Only that is remembered, and only while the key is
 * published: whether the token is active is asked of the database each time, by the `jti` in it. Another encoding of a
 * token is another text, which is verified, and refused, by itself.
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

/** What a row is found by; of what is no token of ours, none is. */
export function nameOf(token: VerifiedToken | undefined): Pick<ActivityQuery, 'jti' | 'exp' | 'kid'> {
  return { jti: token?.claims.jti ?? null, exp: token?.claims.exp ?? null, kid: token?.kid ?? null };
}
