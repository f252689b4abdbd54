import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { equalDigests, hashSecret, sha256 } from '../../src/crypto/hash.ts';
import { createMac } from '../../src/crypto/mac.ts';

const bytes = (limits: fc.IntArrayConstraints = {}) =>
  fc.uint8Array(limits).map((values) => Buffer.from(values));

test('sha256 is SHA-256 of the bytes or of the UTF-8 of the text', () => {
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  expect(sha256('').toString('hex')).toBe(empty);
  expect(sha256(Buffer.alloc(0)).toString('hex')).toBe(empty);
  expect(sha256('ä€').equals(sha256(Buffer.from('ä€', 'utf8')))).toBe(true);
});

test('a secret is stored as its plain SHA-256', () => {
  expect(hashSecret('hps_abc')).toEqual(createHash('sha256').update('hps_abc').digest());
  expect(hashSecret('hps_abc')).toHaveLength(32);
});

test('equalDigests agrees with byte equality and never throws, for any lengths', () => {
  fc.assert(
    fc.property(bytes({ maxLength: 40 }), bytes({ maxLength: 40 }), (a, b) => {
      expect(equalDigests(a, b)).toBe(a.equals(b));
      expect(equalDigests(a, Buffer.from(a))).toBe(true);
    }),
  );
});

test('a digest is not equal to its prefix', () => {
  const digest = sha256('x');
  expect(equalDigests(digest, digest.subarray(0, 31))).toBe(false);
  expect(equalDigests(digest, Buffer.alloc(0))).toBe(false);
});

test('a MAC is HMAC-SHA256 (RFC 4231, test case 2)', () => {
  const tag = createMac(Buffer.from('Jefe')).sign(Buffer.from('what do ya want for nothing?'));
  expect(tag.toString('hex')).toBe('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843');
});

test('a MAC verifies only its own payload under its own key', () => {
  fc.assert(
    fc.property(bytes(), bytes(), bytes({ minLength: 32, maxLength: 32 }), (payload, other, key) => {
      const mac = createMac(key);
      const tag = mac.sign(payload);
      expect(mac.verify(payload, tag)).toBe(true);
      expect(mac.verify(other, tag)).toBe(payload.equals(other));
      expect(mac.verify(payload, tag.subarray(1))).toBe(false);
      expect(mac.verify(payload, other)).toBe(false);
      expect(createMac(Buffer.concat([key, Buffer.of(1)])).verify(payload, tag)).toBe(false);
    }),
  );
});

test('a MAC under an old key verifies, but old keys do not sign', () => {
  const [before, now] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
  const payload = Buffer.from('position');
  const swapped = createMac(now, [before]);
  expect(swapped.verify(payload, createMac(before).sign(payload))).toBe(true);
  expect(swapped.sign(payload)).toEqual(createMac(now).sign(payload));
  expect(createMac(now).verify(payload, createMac(before).sign(payload))).toBe(false);
});
