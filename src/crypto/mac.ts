import { createHmac, createSecretKey } from 'node:crypto';
import { equalDigests } from './hash.ts';

/** Authenticates bytes that a client carries for us. */
export interface Mac {
  /** The 32-byte tag of `payload`. */
  sign(payload: Buffer): Buffer;
  /** Whether `tag` is the whole tag of `payload`; in constant time, never throws. */
  verify(payload: Buffer, tag: Buffer): boolean;
}

/** HMAC-SHA256 (RFC 2104) under a key of one purpose; see `MasterKey.derive`. */
export function createMac(key: Buffer): Mac {
  const secret = createSecretKey(key);
  const sign = (payload: Buffer): Buffer => createHmac('sha256', secret).update(payload).digest();
  return { sign, verify: (payload, tag) => equalDigests(sign(payload), tag) };
}
