import { beforeAll, describe, expect, it } from 'vitest';
import { generateSigningKeyPair } from '../../src/crypto/algorithms.ts';
import { createSigner, type VerificationKey } from '../../src/crypto/jwt.ts';
import { createVerifiedTokens } from '../../src/tokens/verified-tokens.ts';

const issuer = 'https://hallpass.test';
const claims = { iss: issuer, jti: 'tok_1', iat: 1_000, exp: 2_000, scope: 'read' };
let key: VerificationKey;
let token: string;
let sign: (claims: object) => string;

beforeAll(async () => {
  const { publicKey, privateKey } = await generateSigningKeyPair('ES256');
  key = { alg: 'ES256', publicKey };
  sign = createSigner({ typ: 'at+jwt', alg: 'ES256', kid: 'k1', privateKey });
  token = sign(claims);
});

/**
 * Creates `VerifiedTokens` over keys that a test can publish and withdraw, and counts the refreshes for unknown keys.
 */
function fixture() {
  const published = new Map([['k1', key]]);
  let refreshes = 0;
  const ring = {
    verificationKey: (kid: string) => published.get(kid),
    refreshForUnknown: async () => {
      refreshes += 1;
    },
  };
  return { published, tokens: createVerifiedTokens({ ring, issuer }), refreshes: () => refreshes };
}

describe('a token that was verified before', () => {
  it('is recognised from memory with the same claims, and no other text is', async () => {
    const { tokens } = fixture();
    for (let i = 0; i < 3; i += 1) expect(await tokens.verify(token)).toMatchObject({ claims, kid: 'k1' });
    const [head = '', , signature = ''] = token.split('.');
    const wider = Buffer.from(JSON.stringify({ ...claims, scope: 'admin' })).toString('base64url');
    const texts = [
      `${token}\n`,
      ` ${token}`,
      `${token}=`,
      `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`,
    ];
    for (const text of [...texts, `${head}.${wider}.${signature}`, token.toUpperCase(), '']) {
      expect(await tokens.verify(text), text).toBeUndefined();
    }
    expect(await tokens.verify(sign({ ...claims, jti: 'tok_2' }))).toMatchObject({
      claims: { jti: 'tok_2' },
    });
  });

  it('is not verified while its key is not published, and is verified again when it is', async () => {
    const { tokens, published, refreshes } = fixture();
    await tokens.verify(token);
    published.delete('k1');
    expect(await tokens.verify(token)).toBeUndefined();
    expect(refreshes()).toBe(1);
    published.set('k1', key);
    expect(await tokens.verify(token)).toMatchObject({ kid: 'k1' });
  });

  it('is not verified by another key with the same kid', async () => {
    const { tokens, published } = fixture();
    await tokens.verify(token);
    const { publicKey } = await generateSigningKeyPair('ES256');
    published.set('k1', { alg: 'ES256', publicKey });
    expect(await tokens.verify(token)).toBeUndefined();
  });
});

it('a failure is not remembered: the token is verified again when its key is published', async () => {
  const { tokens, published } = fixture();
  published.delete('k1');
  expect(await tokens.verify(token)).toBeUndefined();
  published.set('k1', key);
  expect(await tokens.verify(token)).toMatchObject({ claims });
});
