import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { parseKeySet } from '../../src/outbound/key-set.ts';

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const jwkOf = (key: KeyObject, members: object = {}) => ({ ...key.export({ format: 'jwk' }), ...members });
const good = jwkOf(ec.publicKey, { kid: 'a', alg: 'ES256', use: 'sig' });
const kids = (...keys: unknown[]) => parseKeySet({ keys }).map(({ kid }) => kid);

describe('a key set', () => {
  it('contains the signature keys of every supported type, by kid', () => {
    const keys = [
      good,
      jwkOf(rsa.publicKey, { kid: 'b' }),
      jwkOf(generateKeyPairSync('ed25519').publicKey, { kid: 'c' }),
      jwkOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey, { kid: 'd', key_ops: ['verify'] }),
      jwkOf(generateKeyPairSync('ec', { namedCurve: 'P-521' }).publicKey, { x5c: ['...'], other: 1 }),
    ];
    const parsed = parseKeySet({ keys, other: true });
    expect(parsed.map(({ kid, alg, key }) => [kid, alg, key.type])).toEqual([
      ['a', 'ES256', 'public'],
      ['b', undefined, 'public'],
      ['c', undefined, 'public'],
      ['d', undefined, 'public'],
      [undefined, undefined, 'public'],
    ]);
    expect(parsed[0]?.key.equals(ec.publicKey)).toBe(true);
  });

  it('may be empty, and may have two keys with one kid', () => {
    expect(parseKeySet({ keys: [] })).toEqual([]);
    expect(kids(good, good)).toEqual(['a', 'a']);
  });

  it.each([
    ['that is for encryption', { ...good, use: 'enc' }],
    ['that may not verify', { ...good, key_ops: ['encrypt'] }],
    ['whose key_ops are not a list', { ...good, key_ops: 'verify' }],
    ['of an unsupported curve', jwkOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey)],
    ['of an unsupported type', jwkOf(generateKeyPairSync('x25519').publicKey)],
    ['of RSA that is too short', jwkOf(generateKeyPairSync('rsa', { modulusLength: 1_024 }).publicKey)],
    ['that is not on its curve', { ...good, x: good.y }],
    ['that lacks a member', { ...good, x: undefined }],
    ['of an unknown type', { kty: 'XYZ' }],
    ['without a type', { kid: 'a' }],
    ['whose type is inherited by every object', { ...good, kty: 'constructor' }],
    ['whose kid is not a string', { ...good, kid: 1 }],
    ['whose kid is too long', { ...good, kid: 'a'.repeat(257) }],
    ['that is null', null],
    ['that is a list', []],
    ['that is a string', 'key'],
  ])('leaves out a key %s, and keeps the others', (_what, key) => {
    expect(kids(key, { ...good, kid: 'other' })).toEqual(['other']);
  });

  it.each([
    ['a private key', jwkOf(ec.privateKey)],
    ['a private RSA key', jwkOf(rsa.privateKey)],
    ['a private member that is empty', { ...good, d: '' }],
    ['a symmetric key', { kty: 'oct', k: 'c2VjcmV0' }],
  ])('that contains %s is refused as a whole', (_what, key) => {
    expect(() => kids(good, key)).toThrow(expect.objectContaining({ problem: 'not-a-key-set' }));
  });

  it.each([
    null,
    undefined,
    1,
    'keys',
    [],
    {},
    { keys: {} },
    { keys: 'a' },
    { keys: null },
  ])('is not %j', (document) => {
    expect(() => parseKeySet(document)).toThrow(expect.objectContaining({ problem: 'not-a-key-set' }));
  });

  it('is refused if it has more than 100 keys', () => {
    expect(kids(...Array.from({ length: 100 }, () => good))).toHaveLength(100);
    expect(() => kids(...Array.from({ length: 101 }, () => good))).toThrow('not-a-key-set');
  });
});
