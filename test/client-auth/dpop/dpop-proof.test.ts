import { createHash, createSecretKey } from 'node:crypto';
import { calculateJwkThumbprint, SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { createDpopNonces } from '../../../src/client-auth/dpop/dpop-nonces.ts';
import {
  type DpopOptions,
  type HolderKeys,
  verifyDpopProof,
} from '../../../src/client-auth/dpop/dpop-proof.ts';
import { createMac } from '../../../src/crypto/mac.ts';
import { createBoundedCache } from '../../../src/platform/bounded-cache.ts';
import { createHolder } from '../../support/dpop.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { createKey } from '../../support/key-agent.ts';

const clock = new FakeClock();
const holder = createHolder(clock);
const path = '/oauth2/token';
const url = `https://hallpass.test${path}`;
const seconds = (from: number): number => clock.now().getTime() / 1000 + from;

const verify = (text: string, options: Partial<DpopOptions> = {}) =>
  verifyDpopProof(text, { method: 'POST', url, isGoodNonce: () => true, now: clock.now(), ...options });
const reasonOf = async (text: string, options: Partial<DpopOptions> = {}) => {
  const verified = await verify(text, options);
  return verified.ok ? 'good' : verified.reason;
};
const prove = (claims: object = {}, header: object = {}) => holder.prove('POST', path, { claims, header });

describe('a DPoP proof', () => {
  it('proves which key its sender holds', async () => {
    const verified = await verify(await prove({ jti: 'one' }));
    const jkt = await calculateJwkThumbprint(holder.key.jwk);
    expect(verified).toEqual({ ok: true, proof: { jkt, jti: 'one', endsAt: seconds(120) } });
  });

  it('has an expiry that depends only on its iat, whenever it is verified', async () => {
    const text = await prove({ iat: seconds(30.9) });
    const later = { now: new Date(clock.now().getTime() + 60_000) };
    for (const verified of [await verify(text), await verify(text, later)])
      expect(verified).toMatchObject({ ok: true, proof: { endsAt: seconds(150) } });
  });

  it('has the same thumbprint for every encoding of its key', async () => {
    const { kid: _, ...jwk } = holder.key.jwk;
    const known = await verify(await prove({}, { jwk: { ...jwk, x: `${jwk.x}=` } }));
    expect(known).toMatchObject({ ok: true, proof: { jkt: await calculateJwkThumbprint(jwk) } });
  });

  it('has its key cached by its header, and is verified each time', async () => {
    const known = createBoundedCache<never>() as HolderKeys;
    const options = { method: 'POST', url, isGoodNonce: () => true, now: clock.now() };
    const good = await prove();
    const [header = '', , signature = ''] = (await prove()).split('.');
    expect((await verifyDpopProof(`${header}.${good.split('.')[1]}.${signature}`, options, known)).ok).toBe(
      false,
    );
    expect(known.size).toBe(0);
    expect((await verifyDpopProof(good, options, known)).ok).toBe(true);
    expect((await verifyDpopProof(await prove(), options, known)).ok).toBe(true);
    expect(known.size).toBe(1);
    const forged = `${header}.${good.split('.')[1]}.${signature}`;
    expect(await verifyDpopProof(forged, options, known)).toEqual({ ok: false, reason: 'wrong-signature' });
  });

  it('may have its URL in another spelling, with query and fragment', async () => {
    for (const htu of [`${url}?x=1`, `${url}#x`, 'HTTPS://HALLPASS.test:443/oauth2/token', `${url}?`]) {
      expect(await reasonOf(await prove({ htu }))).toBe('good');
    }
  });

  it.each<[string, string, object]>([
    ['wrong-target', 'another method', { htm: 'GET' }],
    ['wrong-target', 'its method in lower case', { htm: 'post' }],
    ['wrong-target', 'another host', { htu: 'https://evil.test/oauth2/token' }],
    ['wrong-target', 'another path', { htu: `${url}/` }],
    ['wrong-target', 'http', { htu: url.replace('https', 'http') }],
    ['wrong-target', 'an htu that is not a URL', { htu: 'token' }],
    ['wrong-target', 'credentials in its URL', { htu: 'https://user:pw@hallpass.test/oauth2/token' }],
    ['wrong-target', 'a backslash', { htu: 'https://hallpass.test\\oauth2\\token' }],
    ['wrong-target', 'a line break', { htu: 'https://hallpass.test/oauth2/\ntoken' }],
    ['wrong-target', 'no slashes', { htu: 'https:hallpass.test/oauth2/token' }],
    ['wrong-claims', 'no htm', { htm: undefined }],
    ['wrong-claims', 'no htu', { htu: undefined }],
    ['wrong-claims', 'no jti', { jti: undefined }],
    ['wrong-claims', 'an empty jti', { jti: '' }],
    ['wrong-claims', 'a long jti', { jti: 'x'.repeat(257) }],
    ['wrong-claims', 'a jti with NUL', { jti: 'a\u0000' }],
    ['wrong-claims', 'no iat', { iat: undefined }],
    ['wrong-claims', 'a string as iat', { iat: '1772445600' }],
    ['wrong-time', 'an iat 61 s ahead', { iat: seconds(61) }],
    ['wrong-time', 'an iat 120 s ago', { iat: seconds(-120) }],
  ])('is refused (%s) with %s', async (reason, _, claims) => {
    expect(await reasonOf(await prove(claims))).toBe(reason);
  });

  it('may be as old as 119 s, or come from a clock that is a minute ahead', async () => {
    for (const iat of [seconds(-119), seconds(60)]) expect(await reasonOf(await prove({ iat }))).toBe('good');
  });

  it.each<[string, string, object]>([
    ['wrong-header', 'another type', { typ: 'JWT' }],
    ['wrong-header', 'no type', { typ: undefined }],
    ['wrong-key', 'no key', { jwk: undefined }],
    ['wrong-key', 'a private key', { jwk: holder.key.privateKey.export({ format: 'jwk' }) }],
    ['wrong-key', 'a symmetric key', { jwk: { kty: 'oct', k: 'c2VjcmV0' } }],
    ['wrong-key', 'a weak key', { jwk: { kty: 'RSA', n: 'AQAB', e: 'AQAB' } }],
    ['wrong-signature', 'the key of another client', { jwk: createKey().jwk }],
  ])('is refused (%s) with %s in its header', async (reason, _, header) => {
    expect(await reasonOf(await prove({}, header))).toBe(reason);
  });

  it('is refused if it is signed with a secret, unsigned, or not a JWT', async () => {
    const { jwk } = holder.key;
    const payload = { jti: 'x', htm: 'POST', htu: url, iat: seconds(0) };
    const secret = createSecretKey(Buffer.from(JSON.stringify(jwk)));
    const symmetric = await new SignJWT(payload)
      .setProtectedHeader({ typ: 'dpop+jwt', alg: 'HS256', jwk })
      .sign(secret);
    expect(await reasonOf(symmetric)).toBe('wrong-header');
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    expect(await reasonOf(`${part({ typ: 'dpop+jwt', alg: 'none', jwk })}.${part(payload)}.`)).toBe(
      'wrong-header',
    );
    for (const text of ['', 'x', 'a.b.c', '{}', 'x'.repeat(9_000)])
      expect(await reasonOf(text)).toBe('malformed');
  });

  it('must have the hash of the access token of the request', async () => {
    const accessToken = 'a-token';
    const ath = createHash('sha256').update(accessToken).digest('base64url');
    expect(await reasonOf(await prove({ ath }), { accessToken })).toBe('good');
    for (const wrong of [undefined, '', createHash('sha256').update('other').digest('base64url')])
      expect(await reasonOf(await prove({ ath: wrong }), { accessToken })).toBe('wrong-token');
  });

  it('is returned with its nonce, if it has one', async () => {
    const given: unknown[] = [];
    const isGoodNonce = (nonce: unknown): boolean => given.push(nonce) > 2;
    expect(await reasonOf(await prove({ nonce: 'x' }), { isGoodNonce })).toBe('wrong-nonce');
    expect(await reasonOf(await prove({ nonce: undefined }), { isGoodNonce })).toBe('wrong-nonce');
    expect(await reasonOf(await prove({ nonce: 'y' }), { isGoodNonce })).toBe('good');
    expect(given).toEqual(['x', undefined, 'y']);
  });
});

describe('a nonce', () => {
  const nonces = (key: number, old: number[] = [], at = clock) =>
    createDpopNonces({
      clock: at,
      mac: createMac(
        Buffer.alloc(32, key),
        old.map((n) => Buffer.alloc(32, n)),
      ),
    });

  it('is valid on every replica, also under an old key, for at least two periods', () => {
    const time = new FakeClock();
    const [one, other, newer] = [nonces(1, [], time), nonces(1, [], time), nonces(2, [1], time)];
    const nonce = one.current();
    expect(nonce).toBe(other.current());
    for (const replica of [one, other, newer]) expect(replica.isGood(nonce)).toBe(true);
    time.advance(150);
    expect(one.current()).not.toBe(nonce);
    for (const replica of [one, other, newer]) expect(replica.isGood(nonce)).toBe(true);
    time.advance(150);
    for (const replica of [one, other, newer]) expect(replica.isGood(nonce)).toBe(false);
  });

  it('is invalid if it was made by another server, was changed, or is not a string', () => {
    const ours = nonces(1);
    const nonce = ours.current();
    const flipped = `${nonce.startsWith('B') ? 'A' : 'B'}${nonce.slice(1)}`;
    const bad = [
      nonces(2).current(),
      flipped,
      `${nonce}=`,
      nonce.slice(0, -1),
      `${nonce}A`,
      '',
      undefined,
      1,
      {},
    ];
    for (const one of bad) expect(ours.isGood(one)).toBe(false);
  });
});
