import { createHmac, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseSignedJwt, signingAlgs } from '../../src/client-auth/signed-jwt.ts';
import {
  claims,
  ec,
  ed,
  encode,
  forge,
  issuer,
  keysOf,
  make,
  other,
  reasonOf,
  rsa,
  seconds,
  signed,
  tokenUrl,
  verify,
} from './assertions.ts';

describe('a client assertion', () => {
  it('must have the issuer, an id and an expiry', async () => {
    expect(await verify(await make())).toEqual({
      ok: true,
      assertion: {
        clientId: 'agt_1',
        jti: 'one',
        expiresAt: new Date('2026-03-02T10:01:00Z'),
        claims: expect.objectContaining({ iss: 'agt_1', jti: 'one' }),
        key: expect.objectContaining({ kid: 'a' }),
      },
    });
  });

  it.each([
    ['ES256', ec.privateKey, 'a'],
    ['RS256', rsa.privateKey, 'b'],
    ['RS384', rsa.privateKey, 'b'],
    ['RS512', rsa.privateKey, 'b'],
    ['PS256', rsa.privateKey, 'b'],
    ['PS384', rsa.privateKey, 'b'],
    ['PS512', rsa.privateKey, 'b'],
    ['EdDSA', ed.privateKey, 'c'],
    ['Ed25519', ed.privateKey, 'c'],
  ] as const)('may be signed with %s', async (alg, key, kid) => {
    expect(await reasonOf(await make({ header: { alg, kid }, key }))).toBe('good');
    expect(signingAlgs).toContain(alg);
  });

  it.each([
    ['ES384', 'P-384'],
    ['ES512', 'P-521'],
  ] as const)('may be signed with %s', async (alg, namedCurve) => {
    const pair = generateKeyPairSync('ec', { namedCurve });
    const made = await make({ header: { alg }, key: pair.privateKey });
    expect(await reasonOf(made, { keys: keysOf([pair.publicKey, { kid: 'a' }]) })).toBe('good');
  });

  it.each([
    ['the type of every JWT', { typ: 'JWT' }],
    ['the type that is for it', { typ: 'client-authentication+jwt' }],
    ['that as a media type', { typ: 'application/client-authentication+jwt' }],
    ['keys in its header, which are ignored', { jku: 'https://127.0.0.1/', x5u: 'https://127.0.0.1/' }],
  ])('may have in its header %s', async (_what, header) => {
    expect(await reasonOf(await make({ header }))).toBe('good');
  });

  it.each([
    ['no iat', { iat: undefined }],
    ['an nbf that is over', { nbf: seconds(-100) }],
    ['an nbf 8 s ahead: clocks differ', { nbf: seconds(8) }],
    ['an iat 60 s ahead', { iat: seconds(60) }],
    ['an exp that was 59 s ago', { exp: seconds(-59) }],
    ['an exp an hour ahead', { exp: seconds(3600) }],
    ['an exp with a fraction', { exp: seconds(60) + 0.5 }],
    ['a long jti', { jti: 'a'.repeat(256) }],
    ['claims that nobody knows', { scope: 'x', act: { sub: 'y' } }],
  ])('may have %s', async (_what, changed) => {
    expect(await reasonOf(await make({ claims: changed }))).toBe('good');
  });

  it('needs no kid if only one key has its algorithm', async () => {
    const made = await make({ header: { kid: undefined } });
    expect(await reasonOf(made)).toBe('good');
    const two = keysOf([ec.publicKey, { kid: 'a' }], [other.publicKey, { kid: 'b' }]);
    expect(await reasonOf(made, { keys: two })).toBe('unknown-key');
  });
});

describe('a client assertion is refused if it', () => {
  it.each([
    ['is empty', ''],
    ['is not a JWT', 'a.b.c'],
    ['has two parts', 'e30.e30'],
    ['is over 8 kB', 'a'.repeat(8_193)],
    ['is a JSON serialization', JSON.stringify({ payload: 'e30', signatures: [] })],
  ])('%s', async (_what, text) => {
    expect(parseSignedJwt(text)).toBeUndefined();
    expect(await reasonOf(text)).toBe('malformed');
  });

  it('is encrypted', async () => {
    expect(await reasonOf('e30.e30.e30.e30.e30')).toBe('malformed');
  });

  it.each([
    ['is of nobody', { iss: undefined, sub: undefined }],
    ['is by another than it is about', { iss: 'agt_2' }],
    ['is about another than it is by', { sub: 'agt_2' }],
    ['is by a list', { iss: ['agt_1'], sub: ['agt_1'] }],
    ['is by a number', { iss: 1, sub: 1 }],
  ])('%s', async (_what, changed) => {
    expect(await reasonOf(await make({ claims: changed }))).toMatch(/^(malformed|wrong-claims)$/);
  });

  it.each([
    ['has alg none', forge({ alg: 'none', kid: 'a' }, () => Buffer.alloc(0))],
    ['has alg None', forge({ alg: 'None', kid: 'a' }, () => Buffer.alloc(0))],
    ['has no alg', forge({ kid: 'a' }, signed)],
    ['has an alg that every object has', forge({ alg: 'constructor', kid: 'a' }, signed)],
    [
      'is an HMAC keyed with the public key',
      forge({ alg: 'HS256', kid: 'b' }, (input) =>
        createHmac('sha256', rsa.publicKey.export({ format: 'pem', type: 'spki' }))
          .update(input)
          .digest(),
      ),
    ],
    ['has a critical extension', forge({ alg: 'ES256', kid: 'a', crit: ['exp'], exp: 1 }, signed)],
    ['has an empty list of them', forge({ alg: 'ES256', kid: 'a', crit: [] }, signed)],
    ['has an unencoded payload', forge({ alg: 'ES256', kid: 'a', crit: ['b64'], b64: false }, signed)],
    ['is an access token by its type', forge({ alg: 'ES256', kid: 'a', typ: 'at+jwt' }, signed)],
    ['is a proof by its type', forge({ alg: 'ES256', kid: 'a', typ: 'dpop+jwt' }, signed)],
    ['has a type that is not a string', forge({ alg: 'ES256', kid: 'a', typ: 1 }, signed)],
  ])('%s', async (_what, text) => {
    expect(['malformed', 'wrong-header']).toContain(await reasonOf(text));
  });

  it.each([
    ['names another key', { kid: 'z' }],
    ['names a key of another algorithm', { kid: 'b' }],
    ['names a key as a path', { kid: '../../a' }],
    ['names every property of an object', { kid: '__proto__' }],
  ])('%s', async (_what, header) => {
    expect(await reasonOf(await make({ header }))).toBe('unknown-key');
  });

  it('has a kid that is not a string', async () => {
    expect(await reasonOf(forge({ alg: 'ES256', kid: 1 }, signed))).toBe('malformed');
  });

  it('is signed with an algorithm that is not the one of its key', async () => {
    const only = keysOf([rsa.publicKey, { kid: 'a', alg: 'PS256' }]);
    const made = await make({ header: { alg: 'RS256' }, key: rsa.privateKey });
    expect(await reasonOf(made, { keys: only })).toBe('unknown-key');
  });

  it('is signed with another key, or has its key in the header', async () => {
    expect(await reasonOf(await make({ key: other.privateKey }))).toBe('wrong-signature');
    const jwk = other.publicKey.export({ format: 'jwk' });
    expect(await reasonOf(await make({ header: { jwk }, key: other.privateKey }))).toBe('wrong-signature');
  });

  it.each([
    ['no jti', { jti: undefined }],
    ['an empty jti', { jti: '' }],
    ['a jti that is not a string', { jti: 1 }],
    ['a jti that is too long', { jti: 'a'.repeat(257) }],
    ['a jti with a control character', { jti: 'a\u0000' }],
    ['a jti of half a character', { jti: '\ud800' }],
    ['no exp', { exp: undefined }],
    ['an exp of text', { exp: String(seconds(60)) }],
    ['an exp of null', { exp: null }],
    ['an exp of 0', { exp: 0 }],
    ['a negative exp', { exp: -1 }],
    ['an exp in milliseconds', { exp: seconds(60) * 1000 }],
    ['an exp more than an hour ahead', { exp: seconds(3_662) }],
    ['an nbf 62 s ahead', { nbf: seconds(62) }],
    ['an nbf of text', { nbf: '0' }],
    ['an iat 62 s ahead', { iat: seconds(62) }],
    ['an iat of text', { iat: 'now' }],
  ])('has %s', async (_what, changed) => {
    expect(await reasonOf(await make({ claims: changed }))).toBe('wrong-claims');
  });

  it('has an exp that is too large for a number', async () => {
    const payload = JSON.stringify(claims).replace(/"exp":\d+/, '"exp":1e400');
    expect(await reasonOf(await make({ payload }))).toBe('wrong-claims');
  });

  it('expired a minute ago', async () => {
    expect(await reasonOf(await make({ claims: { exp: seconds(-60) } }))).toBe('expired');
  });

  it.each([
    ['is missing', undefined],
    ['is the token endpoint', tokenUrl],
    ['is another', 'https://other.test'],
    ['has a slash more', `${issuer}/`],
    ['has another case', issuer.toUpperCase()],
    ['is a list of it alone', [issuer]],
    ['is a list with others', [issuer, 'https://other.test']],
    ['is empty', ''],
    ['is null', null],
    ['is an object', { 0: issuer }],
  ])('is for another audience: aud %s', async (_what, aud) => {
    expect(await reasonOf(await make({ claims: { aud } }))).toBe('wrong-audience');
  });

  it('has claims that are not UTF-8, or not an object', async () => {
    const broken = Buffer.concat([
      Buffer.from(JSON.stringify(claims).slice(0, -1)),
      Buffer.from([0x2c, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
    ]);
    const input = `${encode(JSON.stringify({ alg: 'ES256', kid: 'a' }))}.${broken.toString('base64url')}`;
    expect(await reasonOf(`${input}.${signed(input).toString('base64url')}`)).not.toBe('good');
    for (const payload of ['null', '[]', '1', '"text"', '']) {
      expect(await reasonOf(forge({ alg: 'ES256', kid: 'a' }, signed, payload))).toBe('malformed');
    }
  });
});

describe('an assertion of a client with legacy_audience', () => {
  const legacyAudiences = [tokenUrl];

  it.each([
    ['the token endpoint', tokenUrl],
    ['a list of that', [tokenUrl]],
    ['a list of that and others', ['https://other.test', tokenUrl]],
    ['the issuer', issuer],
    ['a list of that', [issuer]],
  ])('may be for %s', async (_what, aud) => {
    expect(await reasonOf(await make({ claims: { aud } }), { legacyAudiences })).toBe('good');
  });

  it.each([
    ['another', 'https://other.test'],
    ['a list without them', ['https://other.test']],
    ['an empty list', []],
    ['a list in a list', [[tokenUrl]]],
    ['nobody', undefined],
  ])('is none that is for %s', async (_what, aud) => {
    expect(await reasonOf(await make({ claims: { aud } }), { legacyAudiences })).toBe('wrong-audience');
  });
});

it('any text that is not an assertion is refused, without an exception', async () => {
  const good = await make();
  await fc.assert(
    fc.asyncProperty(
      fc.nat(good.length - 1),
      fc.string({ minLength: 1, maxLength: 3, unit: 'binary' }),
      async (at, text) => {
        const changed = good.slice(0, at) + text + good.slice(at + 1);
        const result = await verify(changed);
        // A JWS has several encodings. In each of them, only the signer is authenticated, under the same id.
        if (result.ok) expect(result.assertion).toMatchObject({ clientId: 'agt_1', jti: 'one' });
      },
    ),
    { numRuns: 500 },
  );
});
