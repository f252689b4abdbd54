import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import type { Random } from '../platform/random.ts';
import type { MasterKey } from './master-key.ts';

/** Where a sealed value is stored. It opens nowhere else. */
export interface Place {
  table: string;
  column: string;
  /** The row's primary key. */
  row: string;
}

export type EnvelopeErrorCode =
  /** Not an envelope of a format we know: too short, or another format number. */
  | 'malformed'
  /** Sealed under a master key that is neither the current one nor among the old ones. */
  | 'unknown-key-version'
  /** The tag does not fit: tampered with, moved from another row or column, or another key. */
  | 'not-authentic';

/** A sealed value that does not open. Always a fault of storage or configuration, never of a caller. */
export class EnvelopeError extends Error {
  readonly code: EnvelopeErrorCode;

  constructor(code: EnvelopeErrorCode, place: Place) {
    super(`${code}: sealed value in ${place.table}.${place.column} of row ${place.row}`);
    this.name = 'EnvelopeError';
    this.code = code;
  }
}

/** Seals secrets at rest and binds each to its place. */
export interface Envelope {
  /** Format number, key version, nonce, tag and ciphertext: 33 bytes longer than `plaintext`. */
  seal(plaintext: Buffer, place: Place): Buffer;
  /** The plaintext that was sealed for this very place. Throws EnvelopeError. */
  open(sealed: Buffer, place: Place): Buffer;
  /**
   * Whether `sealed` says that the current master key sealed it: if not, seal it anew. What it says is proved only
   * when it is opened.
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

/** A JSON array of strings has one reading only: no choice of names makes two places look alike. */
function additionalData(place: Place, keyVersion: string): Buffer {
  return Buffer.from(JSON.stringify([format, place.table, place.column, place.row, keyVersion]));
}

/**
 * AES-256-GCM (NIST SP 800-38D) under the `seal` subkey, with a random 96-bit nonce for each value; table,
 * column, row and key version are authenticated with it. `current` seals; `old` master keys only open.
 */
export function createEnvelope(options: { current: MasterKey; old: MasterKey[]; random: Random }): Envelope {
  const { current, old, random } = options;
  const subkey = (master: MasterKey): KeyObject => createSecretKey(master.derive('seal'));
  const sealingKey = subkey(current);
  const versionOf = (sealed: Buffer): string => sealed.toString('hex', versionAt, nonceAt);
  // The current key comes last: it wins over an old one that is the same.
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
