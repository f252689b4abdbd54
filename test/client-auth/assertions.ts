import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { CompactSign } from 'jose';
import { type AssertionOptions, verifyAssertion } from '../../src/client-auth/client-assertion.ts';
import { type PublicKey, parseKeySet } from '../../src/outbound/key-set.ts';

/** Makes valid and forged client assertions, and verifies them. */
export const issuer = 'https://hallpass.test';
export const tokenUrl = `${issuer}/oauth2/token`;
const now = new Date('2026-03-02T10:00:00.500Z');
const nowSeconds = 1_772_445_600.5;
export const seconds = (from = 0): number => Math.floor(nowSeconds) + from;

export const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
export const other = generateKeyPairSync('ec', { namedCurve: 'P-256' });
export const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
export const ed = generateKeyPairSync('ed25519');

export const keysOf = (...keys: [KeyObject, object?][]): PublicKey[] =>
  parseKeySet({ keys: keys.map(([key, members]) => ({ ...key.export({ format: 'jwk' }), ...members })) });
const keys = keysOf(
  [ec.publicKey, { kid: 'a' }],
  [rsa.publicKey, { kid: 'b' }],
  [ed.publicKey, { kid: 'c' }],
);

export const claims = {
  iss: 'agt_1',
  sub: 'agt_1',
  aud: issuer,
  jti: 'one',
  iat: seconds(),
  exp: seconds(60),
};

interface AssertionParts {
  header?: object;
  claims?: object;
  /** The payload as text, instead of the claims. */
  payload?: string;
  key?: KeyObject;
}

export const encode = (text: string): string => Buffer.from(text).toString('base64url');

/** Makes an assertion: the valid one, with the given changes. */
export async function make({
  header = {},
  claims: changed = {},
  payload,
  key = ec.privateKey,
}: AssertionParts = {}): Promise<string> {
  const text = payload ?? JSON.stringify({ ...claims, ...changed });
  return new CompactSign(Buffer.from(text))
    .setProtectedHeader({ alg: 'ES256', kid: 'a', ...header })
    .sign(key);
}

/** Makes an assertion with a header or signature that jose refuses to make. */
export function forge(
  header: object,
  signature: (input: string) => Buffer,
  body: string = JSON.stringify(claims),
): string {
  const input = `${encode(JSON.stringify(header))}.${encode(body)}`;
  return `${input}.${signature(input).toString('base64url')}`;
}
export const signed = (input: string): Buffer =>
  sign('sha256', Buffer.from(input), { key: ec.privateKey, dsaEncoding: 'ieee-p1363' });

export const verify = (assertion: string, options: Partial<AssertionOptions> = {}) =>
  verifyAssertion(assertion, { keys, issuer, now, ...options });
/** Returns `good` for a valid assertion, otherwise the reason of the refusal. */
export const reasonOf = async (assertion: string, options: Partial<AssertionOptions> = {}) => {
  const result = await verify(assertion, options);
  return result.ok ? 'good' : result.reason;
};
