import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import type { Random } from '../platform/random.ts';
import type { MasterKey } from './master-key.ts';

/** The place where a sealed value is stored. It cannot be decrypted as the value of another place. */
export interface Place {
  table: string;
  column: string;
  /** The row's primary key. */
  row: string;
}

export type EnvelopeErrorCode =
  /** Not a known envelope format: too short, or another format number. */
  | 'malformed'
  /** Encrypted under a master key that is neither the current one nor an old one. */
  | 'unknown-key-version'
  /**
   * The authentication tag is wrong: the value was changed, moved from another row or column, or encrypted with
   * another key.
   */
  | 'not-authentic';

/** A sealed value that cannot be decrypted. The cause is always storage or configuration, never a caller. */
export class EnvelopeError extends Error {
  readonly code: EnvelopeErrorCode;

  constructor(code: EnvelopeErrorCode, place: Place) {
    super(`${code}: sealed value in ${place.table}.${place.column} of row ${place.row}`);
    this.name = 'EnvelopeError';
    this.code = code;
  }
}

/** Encrypts secrets at rest, and binds each to its place. */
export interface Envelope {
  /**
   * Encrypts `plaintext`. The result has the format number, key version, nonce, tag and ciphertext: 33 bytes more
   * than `plaintext`.
   */
  seal(plaintext: Buffer, place: Place): Buffer;
  /** Decrypts a value that was encrypted for this place. Throws EnvelopeError. */
  open(sealed: Buffer, place: Place): Buffer;
  /**
   * Whether `sealed` states that it was encrypted under the current master key. If not, it should be encrypted again.
   * The statement is not authenticated until the value is decrypted.
   */
  isCurrent(sealed: Buffer): boolean;
}

const cipher = 'aes-256-gcm';
const format = 1;
const nonceBytes = 12;
const tagBytes = 16;
const versionAt = 1;
const nonceAt = versionAt + 4;
const tagAt = nonceAt + nonceBytes;
const ciphertextAt = tagAt + tagBytes;

/**
 * Encodes a place as additional data: a JSON array of strings, so that no choice of names makes two places look the
 * same.
 */
function additionalData(place: Place, keyVersion: string): Buffer {
  return Buffer.from(JSON.stringify([format, place.table, place.column, place.row, keyVersion]));
}

/**
 * Creates an envelope: AES-256-GCM (NIST SP 800-38D) under the `seal` subkey with a random 96-bit nonce for each
 * value. Table, column, row and key version are authenticated. `current` encrypts and decrypts; the `old` master keys
 * only decrypt.
 */
export function createEnvelope(options: { current: MasterKey; old: MasterKey[]; random: Random }): Envelope {
  const { current, old, random } = options;
  const subkey = (master: MasterKey): KeyObject => createSecretKey(master.derive('seal'));
  const sealingKey = subkey(current);
  const versionOf = (sealed: Buffer): string => sealed.toString('hex', versionAt, nonceAt);
  // The current key is last, so that it replaces an identical old one.
  const openingKeys = new Map([...old, current].map((master) => [master.version, subkey(master)]));

  return {
    seal(plaintext, place) {
      const nonce = random.bytes(nonceBytes);
      const sealing = createCipheriv(cipher, sealingKey, nonce, { authTagLength: tagBytes });
      sealing.setAAD(additionalData(place, current.version));
      const ciphertext = Buffer.concat([sealing.update(plaintext), sealing.final()]);
      const version = Buffer.from(current.version, 'hex');
      return Buffer.concat([Buffer.of(format), version, nonce, sealing.getAuthTag(), ciphertext]);
    },

    open(sealed, place) {
      if (sealed.length < ciphertextAt || sealed[0] !== format) throw new EnvelopeError('malformed', place);
      const version = versionOf(sealed);
      const key = openingKeys.get(version);
      if (key === undefined) throw new EnvelopeError('unknown-key-version', place);
      const nonce = sealed.subarray(nonceAt, tagAt);
      const opening = createDecipheriv(cipher, key, nonce, { authTagLength: tagBytes });
      opening.setAAD(additionalData(place, version));
      opening.setAuthTag(sealed.subarray(tagAt, ciphertextAt));
      const plaintext = opening.update(sealed.subarray(ciphertextAt));
      try {
        return Buffer.concat([plaintext, opening.final()]);
      } catch {
        throw new EnvelopeError('not-authentic', place);
      }
    },

    isCurrent: (sealed) => sealed[0] === format && versionOf(sealed) === current.version,
  };
}
