import { createHmac, createSecretKey } from 'node:crypto';
import { equalDigests } from './hash.ts';

/** Authenticates bytes that the broker gives to a client and gets back. */
export interface Mac {
  /** Computes the 32-byte tag of `payload`. */
  sign(payload: Buffer): Buffer;
  /**
   * Whether `tag` is the complete tag of `payload` under the current or an old key. Takes constant time and never
   * throws.
   */
  verify(payload: Buffer, tag: Buffer): boolean;
}

/** Creates HMAC-SHA256 (RFC 2104) with a subkey; see `MasterKey.derive`. Old keys only verify. */
export function createMac(key: Buffer, oldKeys: readonly Buffer[] = []): Mac {
  const signWith = (bytes: Buffer): Mac['sign'] => {
    const secret = createSecretKey(bytes);
    return (payload) => createHmac('sha256', secret).update(payload).digest();
  };
  const sign = signWith(key);
  const signs = [sign, ...oldKeys.map(signWith)];
  return { sign, verify: (payload, tag) => signs.some((of) => equalDigests(of(payload), tag)) };
}
