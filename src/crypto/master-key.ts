import { hkdfSync } from 'node:crypto';

/** The purposes of subkeys. Each has its own key, so that a compromised subkey reveals nothing about another. */
export type KeyPurpose =
  /** AES-256-GCM encryption of secrets at rest. */
  | 'seal'
  /** HMAC of list cursors. */
  | 'cursor'
  /** HMAC of nonces for DPoP proofs. */
  | 'dpop-nonce'
  /** The public identifier of the master key. */
  | 'key-id';

const masterKeyBytes = 32;
const versionBytes = 4;

/**
 * The key-encryption key. Its bytes are private to the class, so that log lines, `util.inspect` and JSON cannot
 * contain them.
 */
export class MasterKey {
  readonly #bytes: Buffer;
  /**
   * 8 hex digits that identify the master key without revealing anything about it. Always the same for the same key.
   */
  readonly version: string;

  /** Throws unless `bytes` is 32 bytes long and not all zeros. The bytes must be random. */
  constructor(bytes: Buffer) {
    if (bytes.length !== masterKeyBytes) throw new Error('must be exactly 32 bytes');
    if (bytes.every((byte) => byte === 0)) throw new Error('must be random, not all zeros');
    this.#bytes = Buffer.from(bytes);
    this.version = this.#hkdf('key-id', versionBytes).toString('hex');
  }

  /** Derives the 32-byte subkey for a purpose: HKDF-SHA256 (RFC 5869) without salt, and with the purpose as info. */
  derive(purpose: KeyPurpose): Buffer {
    return this.#hkdf(purpose, 32);
  }

  #hkdf(purpose: KeyPurpose, length: number): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#bytes, '', `hallpass/1/${purpose}`, length));
  }
}

/**
 * Parses a master key: exactly 32 bytes as 43 base64url digits (RFC 4648 section 5, without padding). Throws an Error
 * whose message states the problem and never contains any of the text.
 */
export function parseMasterKey(text: string): MasterKey {
  const bytes = Buffer.from(text, 'base64url');
  // Buffer.from ignores invalid characters: only the canonical encoding is unchanged after a round trip.
  if (bytes.toString('base64url') !== text || bytes.length !== masterKeyBytes) {
    throw new Error('must be exactly 32 bytes in base64url without padding (43 characters)');
  }
  return new MasterKey(bytes);
}
