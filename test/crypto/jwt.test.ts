import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { type JWTPayload, jwtVerify, SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import {
  createSign,
  generateSigningKeyPair,
  type KeyPair,
  type SigningAlg,
  signingAlgs,
} from '../../src/crypto/algorithms.ts';
import { createSigner, type VerifyOptions, verifyJwt } from '../../src/crypto/jwt.ts';

const issuer = 'https://broker.example';
const now = new Date('2026-03-02T10:00:00.000Z');
const iat = now.getTime() / 1000;
const claims = { iss: issuer, sub: 'agt_1', aud: 'https://api.example', iat, exp: iat + 300, jti: 'tok_1' };

const pairs = new Map<string, KeyPair & { alg: SigningAlg }>();
for (const alg of signingAlgs) pairs.set(alg, { alg, ...(await generateSigningKeyPair(alg)) });

function pairOf(kid: string): KeyPair & { alg: SigningAlg } {
  const pair = pairs.get(kid);
  if (pair === undefined) throw new Error(`no pair ${kid}`);
  return pair;
}

const options: VerifyOptions = { keys: (kid) => pairs.get(kid), typ: 'at+jwt', issuer };
const signerOf = (alg: SigningAlg, typ = 'at+jwt') =>
  createSigner({ typ, alg, kid: alg, privateKey: pairOf(alg).privateKey });
const es256 = signerOf('ES256');

/** Returns the result of `verifyJwt`: 'ok' or the reason. */
function verdict(token: string, changes: Partial<VerifyOptions> = {}): string {
  const result = verifyJwt(token, { ...options, ...changes });
  return result.ok ? 'ok' : result.reason;
}

const encode = (text: string): string => Buffer.from(text).toString('base64url');

/** Makes a token with a valid ES256 signature of exactly these texts, including ones that our signer never writes. */
function signRaw(header: string, payload: string): string {
  const signed = `${encode(header)}.${encode(payload)}`;
  const signature = createSign('ES256', pairOf('ES256').privateKey)(Buffer.from(signed));
  return `${signed}.${signature.toString('base64url')}`;
}
const goodHeader = JSON.stringify({ typ: 'at+jwt', alg: 'ES256', kid: 'ES256' });

describe.each(signingAlgs)('%s', (alg) => {
  test('jose verifies what we sign', async () => {
    const { publicKey } = pairOf(alg);
    const token = signerOf(alg)(claims);
    const read = await jwtVerify(token, publicKey, {
      algorithms: [alg],
      issuer,
      typ: 'at+jwt',
      currentDate: now,
    });
    expect(read.payload).toEqual(claims);
    expect(read.protectedHeader).toEqual({ typ: 'at+jwt', alg, kid: alg });
  });

  test('we verify what jose signs', async () => {
    const payload: JWTPayload = claims;
    const signing = new SignJWT(payload).setProtectedHeader({ typ: 'at+jwt', alg, kid: alg });
    const token = await signing.sign(pairOf(alg).privateKey);
    expect(verifyJwt(token, options)).toEqual({ ok: true, claims, kid: alg });
  });

  test('no other key verifies it', () => {
    const [headerPart, ...rest] = signerOf(alg)(claims).split('.');
    for (const other of signingAlgs.filter((name) => name !== alg)) {
      const header = encode(JSON.stringify({ typ: 'at+jwt', alg, kid: other }));
      expect(verdict([header, ...rest].join('.'))).toBe('wrong-alg');
      const relabelled = encode(JSON.stringify({ typ: 'at+jwt', alg: other, kid: other }));
      expect(verdict([relabelled, ...rest].join('.'))).toBe('wrong-signature');
    }
    expect(headerPart).toBe(encode(JSON.stringify({ typ: 'at+jwt', alg, kid: alg })));
  });
});

describe('algorithm confusion', () => {
  test.each(['none', 'None', 'HS256', 'RS256', '', null, ['ES256']])('alg %j is refused', (alg) => {
    const [, payload] = es256(claims).split('.');
    const header = encode(JSON.stringify({ typ: 'at+jwt', alg, kid: 'ES256' }));
    expect(verdict(`${header}.${payload}.`)).toBe('wrong-alg');
  });

  test.each(['pem', 'der'] as const)('HS256 keyed with the public key (%s) is refused', (format) => {
    const { publicKey } = pairOf('ES256');
    const secret =
      format === 'pem'
        ? publicKey.export({ type: 'spki', format: 'pem' })
        : publicKey.export({ type: 'spki', format: 'der' });
    const signed = `${encode(goodHeader.replace('ES256', 'HS256'))}.${encode(JSON.stringify(claims))}`;
    const tag = createHmac('sha256', secret).update(signed).digest('base64url');
    expect(verdict(`${signed}.${tag}`)).toBe('wrong-alg');
    const asEs256 = `${encode(goodHeader)}.${encode(JSON.stringify(claims))}`;
    const other = createHmac('sha256', secret).update(asEs256).digest('base64url');
    expect(verdict(`${asEs256}.${other}`)).toBe('wrong-signature');
  });

  test('a signature in DER is refused', () => {
    const [header, payload] = es256(claims).split('.');
    const der = Buffer.from('3006020101020101', 'hex').toString('base64url');
    expect(verdict(`${header}.${payload}.${der}`)).toBe('wrong-signature');
  });
});

describe('header', () => {
  test.each(['JWT', 'at+JWT', 'application/at+jwt', 'dpop+jwt', undefined])('typ %j is refused', (typ) => {
    const header = JSON.stringify({ typ, alg: 'ES256', kid: 'ES256' });
    expect(verdict(signRaw(header, JSON.stringify(claims)))).toBe('wrong-header');
  });

  test.each([
    ['crit', ['exp']],
    ['crit', []],
    ['b64', false],
    ['jwk', { kty: 'oct', k: 'AA' }],
    ['jku', 'https://evil.example/jwks'],
    ['x5u', 'https://evil.example/x'],
    ['cty', 'JWT'],
  ])('a member that we never write (%s) is refused', (name, value) => {
    const header = JSON.stringify({ typ: 'at+jwt', alg: 'ES256', kid: 'ES256', [name]: value });
    expect(verdict(signRaw(header, JSON.stringify(claims)))).toBe('wrong-header');
  });

  test.each([
    '',
    'ES257',
    '__proto__',
    "' or 1=1 --",
    'a'.repeat(4000),
  ])('kid %j is an unknown key', (kid) => {
    const header = JSON.stringify({ typ: 'at+jwt', alg: 'ES256', kid });
    expect(verdict(signRaw(header, JSON.stringify(claims)))).toBe('unknown-key');
  });

  test.each([null, 1, ['ES256'], undefined])('kid %j is refused before the look-up of a key', (kid) => {
    const header = JSON.stringify({ typ: 'at+jwt', alg: 'ES256', kid });
    expect(verdict(signRaw(header, JSON.stringify(claims)))).toBe('wrong-header');
  });

  test('a repeated member is refused, whichever of the two a parser would use', () => {
    const header = '{"typ":"at+jwt","alg":"none","alg":"ES256","kid":"ES256"}';
    expect(verdict(signRaw(header, JSON.stringify(claims)))).toBe('malformed');
  });
});

describe('encoding', () => {
  // A signature is random, and one in fifteen contains neither of the two digits in which the alphabets differ.
  let token = es256(claims);
  while (!/[-_][^.]*$/.test(token)) token = es256(claims);

  test.each([
    ['a trailing newline', `${token}\n`],
    ['a leading space', ` ${token}`],
    ['padding', `${token}==`],
    ['a fourth part', `${token}.`],
    ['five parts', 'a.b.c.d.e'],
    ['two parts', token.split('.').slice(0, 2).join('.')],
    ['an empty string', ''],
    ['plain base64', token.replaceAll('_', '/').replaceAll('-', '+')],
    ['full-width characters', token.replace('.', '．')],
    ['a JSON array for a header', `${encode('[]')}.${encode('{}')}.AA`],
    ['null for a header', `${encode('null')}.${encode('{}')}.AA`],
    ['invalid JSON', `${encode('{')}.${encode('{}')}.AA`],
  ])('%s is malformed', (_, text) => {
    expect(verdict(text)).toBe('malformed');
  });

  test('a signature with a re-encoded last character is malformed, though it decodes to the same bytes', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = alphabet.indexOf(token.slice(-1));
    const twin = `${token.slice(0, -1)}${alphabet.charAt(last + 1)}`;
    const bytesOf = (text: string): Buffer => Buffer.from(text.split('.')[2] ?? '', 'base64url');
    expect(bytesOf(twin).equals(bytesOf(token))).toBe(true);
    expect(verdict(token)).toBe('ok');
    expect(verdict(twin)).toBe('malformed');
  });

  test('more than 8 kB is malformed, and no key is looked up', () => {
    const pad = (length: number) => es256({ ...claims, pad: 'x'.repeat(length) });
    expect(verdict(pad(5000))).toBe('ok');
    const keys = () => {
      throw new Error('looked for a key');
    };
    expect(verdict(pad(7000), { keys })).toBe('malformed');
  });

  test('a token with any one character changed is refused without an exception', () => {
    fc.assert(
      fc.property(fc.nat(token.length - 1), fc.string({ minLength: 1, maxLength: 1 }), (at, character) => {
        const changed = token.slice(0, at) + character + token.slice(at + 1);
        expect(verdict(changed) === 'ok').toBe(changed === token);
      }),
    );
    fc.assert(fc.property(fc.string(), (text) => verdict(text) === 'malformed'));
  });
});

describe('claims', () => {
  const withClaims = (text: string): string => verdict(signRaw(goodHeader, text));
  const text = JSON.stringify(claims);

  test('well-formed ones pass', () => {
    expect(withClaims(text)).toBe('ok');
  });

  test.each([
    ['exp', undefined],
    ['exp', String(iat + 300)],
    ['exp', iat + 0.5],
    ['exp', -1],
    ['exp', iat],
    ['exp', 2 ** 53 + 2],
    ['exp', 253_402_300_800],
    ['exp', null],
    ['iat', undefined],
    ['iat', 0],
    ['iat', String(iat)],
    ['jti', undefined],
    ['jti', ''],
    ['jti', 7],
    ['iss', undefined],
    ['iss', [issuer]],
  ])('%s = %j is refused', (name, value) => {
    expect(withClaims(JSON.stringify({ ...claims, [name]: value }))).toBe('wrong-claims');
  });

  test.each([
    ['exp of 1e400', text.replace(`"exp":${iat + 300}`, '"exp":1e400')],
    ['exp written with an exponent', text.replace(`"exp":${iat + 300}`, `"exp":${(iat + 300) / 100}e2`)],
    ['a repeated member', text.replace('{', '{"sub":"agt_2",')],
    ['white space', text.replace(',', ', ')],
    ['an array', '[]'],
    ['a number', '1'],
    ['nothing', ''],
    ['a byte order mark', `\uFEFF${text}`],
    ['deep nesting', `{"a":${'['.repeat(2500)}${']'.repeat(2500)}`],
  ])('%s is malformed, even with a good signature', (_, payload) => {
    expect(withClaims(payload)).toBe('malformed');
  });

  test.each([
    `${issuer}/`,
    issuer.toUpperCase(),
    'https://other.example',
    '',
  ])('issuer %j is refused', (iss) => {
    expect(withClaims(JSON.stringify({ ...claims, iss }))).toBe('wrong-issuer');
  });

  test('a token is expired from its exp on, and only if a time is given', () => {
    const token = es256(claims);
    const at = (seconds: number) => ({ now: new Date((claims.exp + seconds) * 1000) });
    expect(verdict(token, at(-0.001))).toBe('ok');
    expect(verdict(token, at(0))).toBe('expired');
    expect(verdict(token, at(1e9))).toBe('expired');
    expect(verdict(token)).toBe('ok');
  });

  test('unsigned claims are never read: an invalid signature hides their problems', () => {
    const [header] = es256(claims).split('.');
    expect(verdict(`${header}.${encode('{')}.AAAA`)).toBe('wrong-signature');
  });
});

test('everything that we sign verifies and has the same claims', () => {
  const values = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue(), { maxKeys: 5 });
  fc.assert(
    fc.property(values, (extra) => {
      const token = es256({ ...extra, ...claims });
      fc.pre(token.length <= 8192);
      const result = verifyJwt(token, options);
      expect(result.ok).toBe(true);
      if (result.ok) expect(JSON.stringify(result.claims)).toBe(JSON.stringify({ ...extra, ...claims }));
    }),
  );
});

test('a token for another use (typ) is refused, in both directions', () => {
  const other = signerOf('ES256', 'logout+jwt')(claims);
  expect(verdict(other)).toBe('wrong-header');
  expect(verdict(other, { typ: 'logout+jwt' })).toBe('ok');
});
