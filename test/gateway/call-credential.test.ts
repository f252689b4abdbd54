import { describe, expect, it } from 'vitest';
import { readCallCredential } from '../../src/gateway/call-credential.ts';

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
