import { createDecipheriv } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createEnvelope, EnvelopeError, type Place } from '../../src/crypto/envelope.ts';
import { MasterKey } from '../../src/crypto/master-key.ts';
import { createSystemRandom } from '../../src/platform/random.ts';

const random = createSystemRandom();
const newMaster = (): MasterKey => new MasterKey(random.bytes(32));
const master = newMaster();
const envelope = createEnvelope({ current: master, old: [], random });
const place: Place = { table: 'signing_keys', column: 'private_sealed', row: 'key_1' };

/** Returns the stable error code that `run` throws. */
function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof EnvelopeError) return error.code;
    throw error;
  }
  return 'opened';
}

const placeText = fc.string({ unit: 'binary', maxLength: 12 });
const places = fc.record({ table: placeText, column: placeText, row: placeText });
const plaintexts = fc.uint8Array({ maxLength: 200 }).map((values) => Buffer.from(values));

describe('a sealed value', () => {
  test('can be decrypted in its place only', () => {
    fc.assert(
      fc.property(plaintexts, places, places, (plaintext, here, there) => {
        const sealed = envelope.seal(plaintext, here);
        expect(envelope.open(sealed, here).equals(plaintext)).toBe(true);
        const same = here.table === there.table && here.column === there.column && here.row === there.row;
        expect(codeOf(() => envelope.open(sealed, there))).toBe(same ? 'opened' : 'not-authentic');
      }),
    );
  });

  test('cannot be decrypted in another row, column or table', () => {
    const sealed = envelope.seal(Buffer.from('secret'), place);
    for (const moved of [{ row: 'key_2' }, { column: 'other' }, { table: 'resources' }]) {
      expect(codeOf(() => envelope.open(sealed, { ...place, ...moved }))).toBe('not-authentic');
    }
  });

  test('cannot be decrypted in a place whose table, column and row only look the same when joined', () => {
    const sealed = envelope.seal(Buffer.from('secret'), { table: 'ab', column: 'c', row: 'd' });
    for (const other of [
      { table: 'a', column: 'bc', row: 'd' },
      { table: 'ab', column: 'cd', row: '' },
      { table: 'ab","c', column: 'd', row: '' },
    ]) {
      expect(codeOf(() => envelope.open(sealed, other))).toBe('not-authentic');
    }
  });

  test('cannot be decrypted with any one bit flipped', () => {
    const sealed = envelope.seal(Buffer.from('a private key'), place);
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const flipped = Buffer.from(sealed);
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(codeOf(() => envelope.open(flipped, place))).not.toBe('opened');
    }
  });

  test('cannot be decrypted if it is truncated or extended', () => {
    const sealed = envelope.seal(Buffer.from('a private key'), place);
    for (let length = 0; length < sealed.length; length += 1) {
      const code = codeOf(() => envelope.open(sealed.subarray(0, length), place));
      expect(code).toBe(length < 33 ? 'malformed' : 'not-authentic');
    }
    expect(codeOf(() => envelope.open(Buffer.concat([sealed, Buffer.of(0)]), place))).toBe('not-authentic');
  });

  test('is refused if its format number is unknown', () => {
    const sealed = envelope.seal(Buffer.from('x'), place);
    sealed.writeUInt8(2, 0);
    expect(codeOf(() => envelope.open(sealed, place))).toBe('malformed');
  });

  test('has the documented layout and authenticates place and key version, so that later versions can decrypt it', () => {
    const sealed = envelope.seal(Buffer.from('a private key'), place);
    const nonce = sealed.subarray(5, 17);
    const opening = createDecipheriv('aes-256-gcm', master.derive('seal'), nonce, { authTagLength: 16 });
    opening.setAAD(Buffer.from(`[1,"signing_keys","private_sealed","key_1","${master.version}"]`));
    opening.setAuthTag(sealed.subarray(17, 33));
    const plaintext = Buffer.concat([opening.update(sealed.subarray(33)), opening.final()]);
    expect(sealed.toString('hex', 0, 5)).toBe(`01${master.version}`);
    expect(plaintext.toString()).toBe('a private key');
  });

  test('never contains the plaintext, and differs each time', () => {
    const plaintext = Buffer.from('hunter2hunter2hunter2');
    const first = envelope.seal(plaintext, place);
    expect(first.includes(plaintext)).toBe(false);
    expect(first.equals(envelope.seal(plaintext, place))).toBe(false);
    expect(first).toHaveLength(plaintext.length + 33);
  });
});

describe('master keys', () => {
  test('an old one decrypts what it encrypted, and the current one encrypts', () => {
    const next = newMaster();
    const rotated = createEnvelope({ current: next, old: [master], random });
    const before = envelope.seal(Buffer.from('old'), place);
    expect(rotated.open(before, place).toString()).toBe('old');
    const after = rotated.seal(Buffer.from('new'), place);
    expect(after.toString('hex', 1, 5)).toBe(next.version);
    expect(codeOf(() => envelope.open(after, place))).toBe('unknown-key-version');
  });

  test('values of the current one are distinguished from values of an old one', () => {
    const rotated = createEnvelope({ current: newMaster(), old: [master], random });
    expect(rotated.isCurrent(rotated.seal(Buffer.from('new'), place))).toBe(true);
    expect(rotated.isCurrent(envelope.seal(Buffer.from('old'), place))).toBe(false);
    expect(rotated.isCurrent(Buffer.alloc(0))).toBe(false);
    expect(envelope.isCurrent(Buffer.alloc(40))).toBe(false);
  });

  test('an unknown one is distinguished from tampering', () => {
    const sealed = createEnvelope({ current: newMaster(), old: [], random }).seal(Buffer.from('x'), place);
    expect(codeOf(() => envelope.open(sealed, place))).toBe('unknown-key-version');
  });

  test('a value relabelled with another known key cannot be decrypted', () => {
    const next = newMaster();
    const both = createEnvelope({ current: next, old: [master], random });
    const sealed = envelope.seal(Buffer.from('x'), place);
    sealed.write(next.version, 1, 'hex');
    expect(codeOf(() => both.open(sealed, place))).toBe('not-authentic');
  });

  test('the error names the place and reveals nothing of the content', () => {
    const sealed = envelope.seal(Buffer.from('hunter2'), place);
    expect(() => envelope.open(sealed, { ...place, row: 'key_2' })).toThrow(
      'not-authentic: sealed value in signing_keys.private_sealed of row key_2',
    );
  });
});
