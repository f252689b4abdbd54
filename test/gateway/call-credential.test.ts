import { describe, expect, it } from 'vitest';
import { readCallCredential, repeatsToken } from '../../src/gateway/call-credential.ts';

describe('the credential of a call', () => {
  it.each<[string[], 'Bearer' | 'DPoP']>([
    [['Authorization', 'Bearer abc.def'], 'Bearer'],
    [['authorization', 'bearer abc.def'], 'Bearer'],
    [['Authorization', 'DPoP abc.def'], 'DPoP'],
    [['X-Api-Key', 'abc.def'], 'Bearer'],
    [['api-key', 'abc.def'], 'Bearer'],
    [['x-goog-api-key', 'abc.def'], 'Bearer'],
    [['Accept', '*/*', 'X-API-KEY', 'abc.def', 'Cookie', 'a=b'], 'Bearer'],
  ])('is read from %s', (rawHeaders, scheme) => {
    expect(readCallCredential(rawHeaders)).toEqual({ ok: true, scheme, token: 'abc.def' });
  });

  it.each<[string, string[], string]>([
    ['none', ['Accept', '*/*'], 'none'],
    ['none', [], 'none'],
    ['two of one kind', ['Authorization', 'Bearer a', 'Authorization', 'Bearer a'], 'several'],
    ['two kinds', ['Authorization', 'Bearer a', 'x-api-key', 'a'], 'several'],
    ['two keys', ['x-api-key', 'a', 'api-key', 'a'], 'several'],
    ['an empty one beside another', ['Authorization', '', 'x-api-key', 'a'], 'several'],
    ['another scheme', ['Authorization', 'Basic YTpi'], 'malformed'],
    ['no token', ['Authorization', 'Bearer '], 'malformed'],
    ['two tokens', ['Authorization', 'Bearer a b'], 'malformed'],
    ['two values in one header', ['Authorization', 'Bearer a, Bearer b'], 'malformed'],
    ['an empty key', ['x-api-key', ''], 'malformed'],
    ['two keys in one header', ['x-api-key', 'a, b'], 'malformed'],
    ['a key with a scheme', ['x-api-key', 'Bearer a'], 'malformed'],
  ])('is refused if there is %s', (_, rawHeaders, reason) => {
    expect(readCallCredential(rawHeaders)).toEqual({ ok: false, reason });
  });
});

describe('the token of a call', () => {
  const token = 'eyJhbGciOiJFUzI1NiJ9.eyJqdGkiOiJ0b2tfMSJ9.c2lnbmF0dXJl';
  const encoded = token.replaceAll('.', '%2e').replace('e', '%65');

  it.each([
    ['Authorization', `Bearer ${token}`],
    ['authorization', `DPoP ${token}`],
    ['X-Api-Key', token],
    ['api-key', token],
    ['x-goog-api-key', token],
  ])('is not repeated if only %s has it', (name, value) => {
    const rawHeaders = ['Accept', '*/*', name, value, 'Cookie', 'a=b'];
    expect(repeatsToken(token, { rawHeaders, url: '?q=100%&r=%zz' })).toBe(false);
    expect(repeatsToken(token, { rawHeaders, url: '' })).toBe(false);
  });

  it.each<[string, string[], string]>([
    ['a parameter', [], `?key=${token}`],
    ['a part of a parameter', [], `?a=b&url=https://x.example/${token}/c`],
    ['the name of a parameter', [], `?${token}`],
    ['an encoded parameter', [], `?key=${encoded}`],
    ['an encoded parameter beside a broken encoding', [], `?a=%zz&key=${encoded}`],
    ['another header', ['X-Token', token], ''],
    ['a header with a scheme', ['X-Auth', `Bearer ${token}`], ''],
    ['a header that a server may take for the credential', ['X_Api_Key', token], ''],
    ['a cookie', ['Cookie', `session=${token}`], ''],
    ['an address', ['Referer', `https://x.example/?t=${encoded}`], ''],
    ['the name of a header', [token, 'a'], ''],
  ])('is repeated if %s has it', (_, more, url) => {
    const rawHeaders = ['Authorization', `Bearer ${token}`, ...more];
    expect(repeatsToken(token, { rawHeaders, url })).toBe(true);
  });
});
