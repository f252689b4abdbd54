import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { calculateJwkThumbprint, importJWK } from 'jose';
import { describe, expect, test } from 'vitest';
import {
  createSign,
  defaultSigningAlg,
  exportPrivateKey,
  exportPublicJwk,
  generateSigningKeyPair,
  importPrivateKey,
  importPublicJwk,
  isSigningAlg,
  type KeyPair,
  type SigningAlg,
  signingAlgs,
  verifySignature,
} from '../../src/crypto/algorithms.ts';

const pairs = new Map<SigningAlg, KeyPair>();
for (const alg of signingAlgs) pairs.set(alg, await generateSigningKeyPair(alg));

function pairOf(alg: SigningAlg): KeyPair {
  const pair = pairs.get(alg);
  if (pair === undefined) throw new Error(`no pair for ${alg}`);
  return pair;
}

const expectedMembers: Record<SigningAlg, string[]> = {
  ES256: ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
  RS256: ['alg', 'e', 'kid', 'kty', 'n', 'use'],
  EdDSA: ['alg', 'crv', 'kid', 'kty', 'use', 'x'],
};
const input = Buffer.from('header.claims');

test('the algorithms are ES256, RS256 and EdDSA, ES256 first and by default', () => {
  expect(signingAlgs).toEqual(['ES256', 'RS256', 'EdDSA']);
  expect(defaultSigningAlg).toBe('ES256');
});

test.each([
  'none',
  'HS256',
  'ES384',
  'es256',
  'toString',
  '__proto__',
  '',
])('%j is not an algorithm', (name) => {
  expect(isSigningAlg(name)).toBe(false);
});

describe.each(signingAlgs)('%s', (alg) => {
  const { publicKey, privateKey } = pairOf(alg);
  const others = signingAlgs.filter((other) => other !== alg);

  test.each([
    'publicKey',
    'privateKey',
  ] as const)('the JWK made from the %s has public members only', (half) => {
    const jwk = exportPublicJwk({ alg, kid: 'key_1', key: pairOf(alg)[half] });
    expect(Object.keys(jwk).sort()).toEqual(expectedMembers[alg]);
    expect(jwk).toMatchObject({ kid: 'key_1', alg, use: 'sig' });
  });

  test('jose reads the JWK as the same key', async () => {
    const jwk = exportPublicJwk({ alg, kid: 'key_1', key: publicKey });
    await importJWK({ ...jwk }, alg);
    const native = publicKey.export({ format: 'jwk' });
    expect(await calculateJwkThumbprint({ ...jwk })).toBe(
      await calculateJwkThumbprint(native as { kty: string }),
    );
    expect(importPublicJwk(jwk).equals(publicKey)).toBe(true);
  });

  test('a private key survives the round trip through PKCS #8, and signs for the same public key', () => {
    const read = importPrivateKey(alg, exportPrivateKey(privateKey));
    expect(read.equals(privateKey)).toBe(true);
    const signature = createSign(alg, read)(input);
    expect(verifySignature({ alg, publicKey, input, signature })).toBe(true);
  });

  test('a key of another algorithm is refused by every function', () => {
    for (const other of others) {
      const wrong = pairOf(other);
      expect(() => exportPublicJwk({ alg, kid: 'k', key: wrong.publicKey })).toThrow(`not a key for ${alg}`);
      expect(() => importPrivateKey(alg, exportPrivateKey(wrong.privateKey))).toThrow(`not a key for ${alg}`);
      expect(() => createSign(alg, wrong.privateKey)).toThrow(`not a key for ${alg}`);
      const relabelled = { ...exportPublicJwk({ alg: other, kid: 'k', key: wrong.publicKey }), alg };
      expect(() => importPublicJwk(relabelled)).toThrow();
      const signature = createSign(other, wrong.privateKey)(input);
      expect(verifySignature({ alg, publicKey: wrong.publicKey, input, signature })).toBe(false);
    }
  });

  test('a signature of other bytes or by another key, or a truncated or empty one, does not verify', async () => {
    const signature = createSign(alg, privateKey)(input);
    const stranger = (await generateSigningKeyPair(alg)).publicKey;
    const verify = (changes: object): boolean =>
      verifySignature({ alg, publicKey, input, signature, ...changes });
    expect(verify({})).toBe(true);
    expect(verify({ input: Buffer.from('header.claimz') })).toBe(false);
    expect(verify({ publicKey: stranger })).toBe(false);
    expect(verify({ signature: signature.subarray(1) })).toBe(false);
    expect(verify({ signature: Buffer.alloc(0) })).toBe(false);
    expect(verify({ signature: Buffer.alloc(signature.length) })).toBe(false);
  });
});

test('an ES256 signature is the 64 bytes of r || s, not DER', () => {
  expect(createSign('ES256', pairOf('ES256').privateKey)(input)).toHaveLength(64);
});

test('keys of the right type but the wrong curve or size are refused', () => {
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  expect(() => createSign('ES256', p384.privateKey)).toThrow('not a key for ES256');
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
  expect(() => createSign('RS256', weak.privateKey)).toThrow('not a key for RS256');
  const pss = generateKeyPairSync('rsa-pss', { modulusLength: 2048 });
  expect(() => createSign('RS256', pss.privateKey)).toThrow('not a key for RS256');
  expect(createPublicKey(p384.privateKey).asymmetricKeyType).toBe('ec');
});
