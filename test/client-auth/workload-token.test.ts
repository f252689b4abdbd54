import { describe, expect, it } from 'vitest';
import { issuerOf, show, verifyWorkloadToken } from '../../src/client-auth/workload-token.ts';
import { claims as assertionClaims, ec, forge, keysOf, make, other, seconds, signed } from './assertions.ts';

const issuer = 'https://token.actions.githubusercontent.com';
const subject = 'repo:octo-org/octo-repo:ref:refs/heads/main';
const audience = 'https://hallpass.test';
const now = new Date('2026-03-02T10:00:00.500Z');
const keys = keysOf([ec.publicKey, { kid: 'a' }]);
const claims = { iss: issuer, sub: subject, aud: audience, repository: 'octo-org/octo-repo' };

const failureOf = async (text: string, options: object = {}) => {
  const expected = { keys, issuer, audience, conditions: {}, now };
  const verified = await verifyWorkloadToken(text, { ...expected, ...options });
  return verified.ok ? undefined : verified.reason;
};
const token = (changed: object = {}, header: object = {}) =>
  make({ claims: { ...claims, ...changed }, header });

describe('the token of a platform', () => {
  it('is accepted with its audience as a string or as a list, and with any header that platforms use', async () => {
    for (const aud of [audience, [audience]]) expect(await failureOf(await token({ aud }))).toBeUndefined();
    for (const typ of ['JWT', 'jwt', 'application/jwt', 'JOSE', undefined]) {
      expect(await failureOf(await token({}, { typ }))).toBeUndefined();
    }
    expect(await failureOf(await token({ jti: undefined }))).toBeUndefined();
    expect(await failureOf(await token({ exp: seconds(24 * 3600) }))).toBeUndefined();
  });

  it.each<[string, string, object]>([
    ['wrong-audience', 'another audience', { aud: 'https://other.test' }],
    [
      'wrong-audience',
      'another audience in addition to the broker',
      { aud: [audience, 'https://other.test'] },
    ],
    ['wrong-audience', 'the audience of the broker twice', { aud: [audience, audience] }],
    ['wrong-audience', 'the audience of the broker with a slash', { aud: `${audience}/` }],
    ['wrong-audience', 'no audience', { aud: undefined }],
    ['wrong-audience', 'a list in a list', { aud: [[audience]] }],
    ['wrong-issuer', 'another issuer', { iss: 'https://evil.test' }],
    ['wrong-issuer', 'an issuer with a slash', { iss: `${issuer}/` }],
    ['wrong-issuer', 'an issuer in upper case', { iss: issuer.toUpperCase() }],
    ['wrong-issuer', 'no issuer', { iss: undefined }],
    ['wrong-claims', 'no exp', { exp: undefined }],
    ['wrong-claims', 'a string as exp', { exp: '1772445900' }],
    ['wrong-claims', 'no iat', { iat: undefined }],
    [
      'wrong-claims',
      'a lifetime of more than a day and five minutes',
      { iat: seconds(-86_000), exp: seconds(701) },
    ],
    ['wrong-claims', 'an exp 25 hours ahead', { exp: seconds(25 * 3600) }],
    ['wrong-claims', 'an nbf more than 61 s ahead', { nbf: seconds(62) }],
    ['expired', 'an exp in the past', { exp: seconds(-61) }],
  ])('is refused (%s) with %s', async (reason, _, changed) => {
    expect(await failureOf(await token(changed))).toBe(reason);
  });

  it('is refused if it is an access token, with another key, with a critical extension, or unsigned', async () => {
    expect(await failureOf(await token({}, { typ: 'at+jwt' }))).toBe('wrong-header');
    expect(await failureOf(await token({}, { typ: 'logout+jwt' }))).toBe('wrong-header');
    expect(await failureOf(await make({ claims, key: other.privateKey }))).toBe('wrong-signature');
    const body = JSON.stringify({ ...assertionClaims, ...claims });
    const critical = forge({ alg: 'ES256', kid: 'a', crit: ['x'], x: 1 }, signed, body);
    expect(await failureOf(critical)).toBe('wrong-header');
    expect(await failureOf(forge({ alg: 'none' }, () => Buffer.alloc(0), body))).toBe('wrong-header');
    expect(await failureOf('x')).toBe('malformed');
    expect(await failureOf(await token({ pad: 'x'.repeat(8_192) }))).toBe('malformed');
  });

  it('must meet every condition of its issuer, and the refusal names what differs', async () => {
    const text = await token();
    const good = { repository: 'octo-org/octo-repo' };
    expect(await failureOf(text, { conditions: good })).toBeUndefined();
    const bad = { ...good, environment: 'production', ref_protected: ['true', 'x'.repeat(500)] };
    const verified = await verifyWorkloadToken(text, { keys, issuer, audience, now, conditions: bad });
    expect(verified).toMatchObject({ ok: false, reason: 'wrong-conditions' });
    const { detail = '' } = verified as { detail?: string };
    expect(detail).toContain(
      'environment is absent, expected "production"; ref_protected is absent, expected',
    );
    expect(detail.length).toBeLessThan(400);
  });
});

it('has long values cut between characters in the log, because the database refuses half a character', () => {
  for (const offset of ['', 'x']) expect(show(offset + '\u{1f642}'.repeat(60)).isWellFormed()).toBe(true);
});

describe('a JWT-SVID', () => {
  const spiffe = { issuer: 'spiffe://example.org', subject: 'spiffe://example.org/ns/prod/sa/agent' };

  it('without iss has the trust domain of its SPIFFE ID as issuer', async () => {
    const svid = await token({ iss: undefined, sub: spiffe.subject });
    expect(await failureOf(svid, spiffe)).toBeUndefined();
    expect(await failureOf(svid, { ...spiffe, issuer: 'spiffe://example.org.evil' })).toBe('wrong-issuer');
    const withIssuer = await token({ iss: issuer, sub: spiffe.subject });
    expect(await failureOf(withIssuer, spiffe)).toBe('wrong-issuer');
    expect(await failureOf(withIssuer, { ...spiffe, issuer })).toBeUndefined();
  });

  it.each([
    ['spiffe://example.org/a', 'spiffe://example.org'],
    ['spiffe://example.org', undefined],
    ['spiffe://Example.org/a', undefined],
    ['spiffe://user@example.org/a', undefined],
    ['spiffe://example.org:8443/a', undefined],
    ['x spiffe://example.org/a', undefined],
    ['https://example.org/a', undefined],
  ])('with the subject %s has the issuer %s', (sub, expected) => {
    expect(issuerOf({ issuer: undefined, subject: sub })).toBe(expected);
  });
});
