import { generateKeyPairSync } from 'node:crypto';
import { calculateJwkThumbprint } from 'jose';
import { describe, expect, it } from 'vitest';
import { type Jwk, keySetProblem, thumbprintsOf } from '../../src/outbound/key-source.ts';

const jwkOf = (curve: string, members: object = {}): Jwk => ({
  ...(generateKeyPairSync('ec', { namedCurve: curve }).publicKey.export({ format: 'jwk' }) as Jwk),
  ...members,
});
const rsa = (members: object = {}): Jwk => ({
  ...(generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey.export({ format: 'jwk' }) as Jwk),
  ...members,
});
const ed448 = generateKeyPairSync('ed448').publicKey.export({ format: 'jwk' }) as Jwk;
const good = jwkOf('P-256', { kid: 'a' });

describe('a registered key set', () => {
  it.each<[string, Jwk]>([
    ['for encryption', jwkOf('P-256', { kid: 'b', use: 'enc' })],
    ['for ES256K', jwkOf('secp256k1', { kid: 'b', alg: 'ES256K' })],
    ['for Ed448', { ...ed448, kid: 'b' }],
    ['of an unknown type', { kty: 'XYZ', kid: 'b' }],
  ])('ignores a key %s, and returns the usable one', async (_, key) => {
    expect(keySetProblem({ keys: [key, good] })).toBeUndefined();
    expect(await thumbprintsOf({ keys: [key, good] })).toEqual([await calculateJwkThumbprint(good)]);
  });

  it('may use one kid for two algorithms', () => {
    const keys = [rsa({ kid: 'a', alg: 'RS256' }), rsa({ kid: 'a', alg: 'PS256' }), good];
    expect(keySetProblem({ keys })).toBeUndefined();
  });

  it.each<[string, Jwk[], string]>([
    ['is empty', [], 'it is empty'],
    ['has only keys for encryption', [jwkOf('P-256', { use: 'enc' })], 'keys[0] is not for signatures (use)'],
    [
      'has no supported key',
      [ed448, jwkOf('secp256k1')],
      'keys[0] has a type, curve or size that is not supported; keys[1] has a type, curve or size that is not supported',
    ],
    [
      'has only a malformed key',
      [{ ...good, x: good.y }],
      'keys[0] is malformed, or of an unknown type or curve',
    ],
  ])('is refused with the reason if it %s', (_, keys, reason) => {
    expect(keySetProblem({ keys })).toContain(reason);
  });

  it.each<[string, Jwk[]]>([
    ['two keys with one kid', [good, jwkOf('P-256', { kid: 'a' })]],
    ['two keys without a kid', [rsa(), rsa()]],
    ['one kid twice, once without an algorithm', [rsa({ kid: 'a' }), rsa({ kid: 'a', alg: 'RS256' })]],
  ])('is refused if it has %s for the same algorithm', (_, keys) => {
    expect(keySetProblem({ keys })).toContain('needs a kid of its own');
  });

  it('is refused if it has a private key', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    expect(keySetProblem({ keys: [good, privateKey.export({ format: 'jwk' }) as Jwk] })).toContain(
      'only public keys',
    );
  });
});
