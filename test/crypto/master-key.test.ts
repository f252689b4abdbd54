import { inspect } from 'node:util';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type KeyPurpose, MasterKey, parseMasterKey } from '../../src/crypto/master-key.ts';

const bytes = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
const text = bytes.toString('base64url');

test('32 bytes in base64url are a master key, and the same one each time', () => {
  expect(parseMasterKey(text).version).toBe(new MasterKey(bytes).version);
  expect(parseMasterKey(text).derive('seal')).toEqual(new MasterKey(bytes).derive('seal'));
});

test.each([
  ['empty', ''],
  ['31 bytes', bytes.subarray(1).toString('base64url')],
  ['33 bytes', Buffer.concat([bytes, Buffer.of(1)]).toString('base64url')],
  ['padded', `${text}=`],
  ['with a line break', `${text}\n`],
  ['with a space before', ` ${text}`],
  ['plain base64', Buffer.alloc(32, 0xfb).toString('base64')],
  ['hex', bytes.toString('hex')],
  ['a re-encoded last character', `${text.slice(0, -1)}9`],
  ['all zeros', Buffer.alloc(32).toString('base64url')],
])('a master key that is %s is refused without being shown', (_, wrong) => {
  expect(() => parseMasterKey(wrong)).toThrow(/^must be /);
  const shown = wrong.trim();
  if (shown !== '') expect(() => parseMasterKey(wrong)).not.toThrow(shown);
});

test('each purpose has its own key, which is not the master key', () => {
  const master = new MasterKey(bytes);
  const purposes: KeyPurpose[] = ['seal', 'cursor', 'key-id'];
  const keys = purposes.map((purpose) => master.derive(purpose).toString('hex'));
  expect(new Set([...keys, bytes.toString('hex')]).size).toBe(4);
  for (const key of keys) expect(key).toHaveLength(64);
});

test('derived keys and versions never change, so that an upgrade can decrypt old values', () => {
  const master = new MasterKey(bytes);
  expect(master.version).toBe('7e2c3c9b');
  expect(master.derive('seal').toString('hex')).toBe(
    'a7f8a943f90e85ade13977abf96574184e155e3f13a054288084a89afccdda6f',
  );
  expect(master.derive('cursor').toString('hex')).toBe(
    'd9272f18c77c651d089921ff0a96bcb81fc8b3719bc51300387c89c9647e5b53',
  );
});

test('different master keys have different versions of 8 hex digits', () => {
  const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).filter((values) => values.some((v) => v > 0));
  fc.assert(
    fc.property(key, key, (a, b) => {
      const [one, other] = [new MasterKey(Buffer.from(a)), new MasterKey(Buffer.from(b))];
      expect(one.version).toMatch(/^[0-9a-f]{8}$/);
      expect(one.version === other.version).toBe(Buffer.from(a).equals(Buffer.from(b)));
    }),
  );
});

test('the bytes are never printed, and wiping the input does not change the key', () => {
  const input = Buffer.from(bytes);
  const master = new MasterKey(input);
  const before = master.derive('seal');
  input.fill(0);
  expect(master.derive('seal')).toEqual(before);
  expect(JSON.stringify(master)).toBe(JSON.stringify({ version: master.version }));
  expect(inspect(master, { showHidden: true, depth: 5 })).not.toContain('1d 1e 1f');
});
