import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Risk } from '../../src/grants/facts.ts';
import {
  checkIdentifier,
  endedScopes,
  findDuplicateScope,
  sameIdentifier,
  sameIdentifiers,
} from '../../src/resources/resource.ts';

const own = { issuer: 'https://hallpass.test', gatewayUrl: 'https://gateway.hallpass.test' };
const local = { issuer: 'http://127.0.0.1:8080', gatewayUrl: undefined };

describe('an identifier', () => {
  it.each([
    'https://llm.example/v1',
    'https://llm.example',
    'https://llm.example/',
    'https://llm.example/v1/',
    'https://llm.example:8443/v1?tenant=a%20b',
    'http://llm.example/v1',
    'https://[2001:db8::1]/v1',
    'https://hallpass.test.example/v1',
    'https://hallpass.test:8443/v1',
    'postgres://db.internal/orders',
    'urn:example:inference',
  ])('may be %s', (text) => {
    expect(checkIdentifier(text, own)).toBeUndefined();
  });

  it.each([
    ['', 'identifier must be an absolute URI'],
    ['llm.example/v1', 'identifier must be an absolute URI'],
    ['/v1', 'identifier must be an absolute URI'],
    ['//llm.example/v1', 'identifier must be an absolute URI'],
    ['https://', 'identifier must be an absolute URI'],
    ['https://llm.example/v1#chat', 'identifier must not have a fragment'],
    ['https://llm.example/v1#', 'identifier must not have a fragment'],
    ['https://user@llm.example/v1', 'identifier must not have userinfo'],
    ['https://:secret@llm.example/v1', 'identifier must not have userinfo'],
    ['postgres://user:secret@db.internal/orders', 'identifier must not have userinfo'],
    ['https://@llm.example/v1', 'identifier must be in its normal form: https://llm.example/v1'],
    [' https://llm.example/v1', 'identifier must not have whitespace'],
    ['https://llm.example/v1\n', 'identifier must not have whitespace'],
    ['https://llm.example/a b', 'identifier must not have whitespace'],
    ['urn:example:a b', 'identifier must not have whitespace'],
    ['https://llm.example/\u00a0', 'identifier must not have whitespace'],
    ['HTTPS://llm.example/v1', 'identifier must be in its normal form: https://llm.example/v1'],
    ['https://LLM.example/v1', 'identifier must be in its normal form: https://llm.example/v1'],
    ['https://llm.example:443/v1', 'identifier must be in its normal form: https://llm.example/v1'],
    ['https://llm.example/a/../v1', 'identifier must be in its normal form: https://llm.example/v1'],
    ['https://llm.example/a/%2e%2E/v1', 'identifier must be in its normal form: https://llm.example/v1'],
    ['https:llm.example/v1', 'identifier must be in its normal form: https://llm.example/v1'],
    ['https://llm.example\\v1', 'identifier must be in its normal form: https://llm.example/v1'],
    ['https://llm.example?a', 'identifier must be in its normal form: https://llm.example/?a'],
    ['https://0x7f.1/', 'identifier must be in its normal form: https://127.0.0.1/'],
    ['https://llm.example/v\u00e9', 'identifier must be in its normal form: https://llm.example/v%C3%A9'],
    ['https://llm.example/a|b', 'identifier has characters that a URI does not have'],
    ['https://llm.example/%zz', 'identifier has characters that a URI does not have'],
    ['urn:example:"a"', 'identifier has characters that a URI does not have'],
    ['https://llm.example//', 'identifier must not end with two slashes'],
  ])('may not be %j: %s', (text, problem) => {
    expect(checkIdentifier(text, own)).toBe(problem);
  });

  it.each([
    'https://hallpass.test',
    'https://hallpass.test/',
    'https://hallpass.test/v1',
    'https://hallpass.test:443/v1',
    'HTTPS://HALLPASS.TEST/v1',
    'https://x/../../@hallpass.test',
    'blob:https://hallpass.test/v1',
    'https:\\\\hallpass.test/v1',
  ])('is never the issuer, or under it, in any notation: %s', (text) => {
    const problem = checkIdentifier(text, own);
    expect(problem).toMatch(/issuer or under it|normal form/);
  });

  it.each([
    'https://gateway.hallpass.test',
    'https://gateway.hallpass.test/',
    'https://gateway.hallpass.test/models',
  ])('is never the gateway, or under it: %s', (text) => {
    expect(checkIdentifier(text, own)).toBe('identifier must not be the gateway or under it');
    expect(checkIdentifier(text, { ...own, gatewayUrl: undefined })).toBeUndefined();
  });

  it('on the same host but another port than the issuer is not under it', () => {
    expect(checkIdentifier('http://127.0.0.1:9000/v1', local)).toBeUndefined();
    expect(checkIdentifier('http://127.0.0.1:8080/v1', local)).toBeDefined();
  });

  it('is the same with exactly one trailing slash more or less, and with no other difference', () => {
    const registered = 'https://llm.example/v1';
    expect(sameIdentifier(registered, registered)).toBe(true);
    expect(sameIdentifier(`${registered}/`, registered)).toBe(true);
    expect(sameIdentifier(registered, `${registered}/`)).toBe(true);
    expect(sameIdentifier(`${registered}//`, registered)).toBe(false);
    expect(sameIdentifier('https://LLM.example/v1', registered)).toBe(false);
    expect(sameIdentifier('https://llm.example/v', registered)).toBe(false);
    expect(sameIdentifier('', registered)).toBe(false);
  });

  it('in a request never means two resources that may both be registered', () => {
    const identifier = fc.string({ unit: fc.constantFrom('/', 'a'), maxLength: 6 });
    const registrable = (text: string): boolean => !text.endsWith('//');
    fc.assert(
      fc.property(identifier, (tail) => {
        const meant = sameIdentifiers(`https://llm.example/a${tail}`).filter(registrable);
        // The second of two that differ only by a slash cannot be created.
        const apart = meant.filter(
          (one, i) => !meant.slice(0, i).some((other) => sameIdentifier(one, other)),
        );
        expect(apart.length).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe('a catalogue', () => {
  const scope = (name: string, risk: Risk, description = name) => ({ name, description, risk });
  const before = [scope('chat', 'low'), scope('embed', 'medium'), scope('tune', 'high')];

  it('names no scope twice', () => {
    expect(findDuplicateScope(before)).toBeUndefined();
    expect(findDuplicateScope([...before, scope('embed', 'low')])).toBe('embed');
  });

  it.each([
    ['the same', before, []],
    ['in another order', [...before].reverse(), []],
    ['with one more scope', [...before, scope('new', 'high')], []],
    ['with other descriptions', before.map(({ name, risk }) => scope(name, risk, 'other')), []],
    ['with risks lowered', before.map(({ name }) => scope(name, 'low')), []],
    ['without a scope', [scope('chat', 'low'), scope('tune', 'high')], ['embed']],
    [
      'with risks raised',
      [scope('chat', 'medium'), scope('embed', 'high'), scope('tune', 'high')],
      ['chat', 'embed'],
    ],
    ['empty', [], ['chat', 'embed', 'tune']],
  ])('that is %s ends exactly the scopes that are removed or have a higher risk', (_what, after, ended) => {
    expect(endedScopes(before, after)).toEqual(ended);
  });
});
