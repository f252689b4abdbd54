import { describe, expect, it } from 'vitest';
import { parseCallTarget } from '../../src/gateway/call-target.ts';

describe('the target of a call', () => {
  it.each([
    ['/models', { slug: 'models', path: '/', segments: [], query: '' }],
    ['/models/', { slug: 'models', path: '/', segments: [], query: '' }],
    ['/models/a/b', { slug: 'models', path: '/a/b', segments: ['a', 'b'], query: '' }],
    ['/m-1/a?b=/../c;%2f', { slug: 'm-1', path: '/a', segments: ['a'], query: '?b=/../c;%2f' }],
    [
      '/m/%7Euser/%e2%82%ac',
      { slug: 'm', path: '/~user/%E2%82%AC', segments: ['~user', '%E2%82%AC'], query: '' },
    ],
    ['/m/a:b@c/(d)*', { slug: 'm', path: '/a:b@c/(d)*', segments: ['a:b@c', '(d)*'], query: '' }],
    ['/m/a/', { slug: 'm', path: '/a/', segments: ['a', ''], query: '' }],
    ['/m/%41', { slug: 'm', path: '/A', segments: ['A'], query: '' }],
  ])('%s is read, with its path normalised once', (target, expected) => {
    expect(parseCallTarget(target)).toEqual({ ok: true, ...expected });
  });

  it.each([
    ['absolute form', 'http://evil.test/models/a'],
    ['authority form', 'evil.test:443'],
    ['asterisk form', '*'],
    ['no slug', '/'],
    ['a slug in upper case', '/Models/a'],
    ['an encoded slug', '/%6dodels%2fa'],
    ['a dot segment', '/models/./a'],
    ['a dot-dot segment', '/models/a/../b'],
    ['an encoded dot-dot segment', '/models/a/%2e%2E/b'],
    ['a half encoded dot-dot segment', '/models/.%2e/b'],
    ['a dot-dot segment as slug', '/../models'],
    ['an encoded slash', '/models/a%2Fb'],
    ['an encoded backslash', '/models/a%5cb'],
    ['a backslash', '/models/a\\b'],
    ['double encoding', '/models/%252e%252e/a'],
    ['a semicolon', '/models/a;b=c/d'],
    ['an encoded semicolon', '/models/a%3Bb'],
    ['an empty segment', '/models/a//b'],
    ['an empty segment after the slug', '/models//a'],
    ['two trailing slashes', '/models/a//'],
    ['two slashes after the slug', '/models//'],
    ['an empty first segment', '//models/a'],
    ['an encoded NUL', '/models/a%00'],
    ['an encoded line break', '/models/a%0d%0aHost:%20evil'],
    ['an encoded DEL', '/models/a%7f'],
    ['an encoded question mark', '/models/a%3Fb=c'],
    ['an encoded number sign', '/models/a%23b'],
    ['an encoding of a dot that is longer than it may be', '/models/%C0%AE%C0%AE/a'],
    ['half a character', '/models/a%E2%82'],
    ['half a surrogate pair', '/models/a%ED%A0%80'],
    ['a byte that UTF-8 does not have', '/models/a%ff'],
    ['a broken encoding', '/models/a%zz'],
    ['a half encoding', '/models/a%4'],
    ['a fragment', '/models/a#b'],
    ['a fragment in the query', '/models/a?b#c'],
    ['a space', '/models/a b'],
    ['text that is not ASCII', '/models/é'],
    ['text that is not ASCII in the query', '/models/a?é'],
    ['a token in the query', '/models/a?x=1&access_token=eyJ'],
    ['a token in the query, encoded', '/models/a?access%5Ftoken=eyJ'],
  ])('with %s is refused', (_, target) => {
    expect(parseCallTarget(target)).toEqual({ ok: false, problem: expect.any(String) });
  });
});
