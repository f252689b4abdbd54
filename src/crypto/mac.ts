import { createHmac, createSecretKey } from 'node:crypto';
import { equalDigests } from './hash.ts';

/** Authenticates bytes that a client carries for us. */
export interface Mac {
  /** The 32-byte tag of `payload`. */
  sign(payload: Buffer): Buffer;
  /** Whether `tag` is the whole tag of `payload`, under the key or an old one; in constant time, never throws. */
  verify(payload: Buffer, tag: Buffer): boolean;
}

/** HMAC-SHA256 (RFC 2104) under a key of one purpose; see `MasterKey.derive`. Old keys only verify. */
export function createMac(key: Buffer, oldKeys: readonly Buffer[] = []): Mac {
  const signWith = (bytes: Buffer): Mac['sign'] => {
    const secret = createSecretKey(bytes);
    return (payload) => createHmac('sha256', secret).update(payload).digest();
  };
  const sign = signWith(key);
  const signs = [sign, ...oldKeys.map(signWith)];
  return { sign, verify: (payload, tag) => signs.some((of) => equalDigests(of(payload), tag)) };
}
