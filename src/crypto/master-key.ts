import { hkdfSync } from 'node:crypto';

/** What a subkey may be for. One purpose, one key: a break of one says nothing about another. */
export type KeyPurpose =
  /** AES-256-GCM of secrets at rest. */
  | 'seal'
  /** HMAC of list cursors. */
  | 'cursor'
  /** HMAC of the nonces for DPoP proofs. */
  | 'dpop-nonce'
  /** The public name of the master key's version. */
  | 'key-id';

const masterKeyBytes = 32;
const versionBytes = 4;

/**
 * The key-encryption key. The bytes are private to the class, so that neither a log line, `util.inspect` nor
 * JSON can show them.
 */
export class MasterKey {
  readonly #bytes: Buffer;
  /** 8 hex digits that tell one master key from another and reveal nothing of either. Stable. */
  readonly version: string;

  /** `bytes`: exactly 32 random bytes. Throws otherwise. */
  constructor(bytes: Buffer) {
    if (bytes.length !== masterKeyBytes) throw new Error('must be exactly 32 bytes');
    if (bytes.every((byte) => byte === 0)) throw new Error('must be random, not all zeros');
    this.#bytes = Buffer.from(bytes);
    this.version = this.#hkdf('key-id', versionBytes).toString('hex');
  }

  /** The 32-byte subkey for one purpose: HKDF-SHA256 (RFC 5869), no salt, the purpose as info. */
  derive(purpose: KeyPurpose): Buffer {
    return this.#hkdf(purpose, 32);
  }

  #hkdf(purpose: KeyPurpose, length: number): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#bytes, '', `hallpass/1/${purpose}`, length));
  }
}

/**
 * Reads a master key: exactly 32 bytes as 43 base64url digits (RFC 4648 section 5, no padding).
 * Throws an Error whose message says what is wrong and never holds any of the text.
 */
export function parseMasterKey(text: string): MasterKey {
  const bytes = Buffer.from(text, 'base64url');
  // Buffer.from skips what is not base64url: only the canonical form comes back unchanged.
  if (bytes.toString('base64url') !== text || bytes.length !== masterKeyBytes) {
    throw new Error('must be exactly 32 bytes in base64url without padding (43 characters)');
  }
  return new MasterKey(bytes);
}
