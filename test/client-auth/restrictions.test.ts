import { describe, expect, it } from 'vitest';
import { keyToProve, restrictionFailure } from '../../src/client-auth/restrictions.ts';

const issuer = 'https://hallpass.test';
const actorId = 'agt_1';
const failure = (claims: Record<string, unknown>, jkt?: string) =>
  restrictionFailure(claims, { issuer, actorId, jkt });

describe('a token with cnf', () => {
  it('is accepted only with a proof of that key', () => {
    expect(failure({ cnf: { jkt: 'key' } }, 'key')).toBeUndefined();
    expect(failure({ cnf: { jkt: 'key' } }, 'other')).toBe('unproved-key');
    expect(failure({ cnf: { jkt: 'key' } })).toBe('unproved-key');
  });

  it.each([
    { 'x5t#S256': 'x' },
    { jkt: 'key', 'x5t#S256': 'x' },
    { jwk: {} },
    { kid: 'key' },
    {},
    { jkt: 1 },
    { jkt: '' },
    { jkt: undefined },
    null,
    'key',
    ['key'],
    true,
  ])('is refused with a confirmation method that is not known: %j', (cnf) => {
    expect(failure({ cnf }, 'key')).toBe('unknown-confirmation');
    expect(keyToProve({ cnf })).toBeUndefined();
  });
});

describe('a token with may_act', () => {
  it('is accepted from the actor that it names', () => {
    expect(failure({ may_act: { sub: actorId } })).toBeUndefined();
    expect(failure({ may_act: { sub: actorId, iss: issuer } })).toBeUndefined();
  });

  it.each([
    { sub: 'agt_2' },
    { sub: actorId, iss: 'https://other.example' },
    { sub: actorId, iss: null },
    { iss: issuer },
    {},
    [],
    null,
    actorId,
    false,
  ])('is refused from anybody else: %j', (may_act) => {
    expect(failure({ may_act })).toBe('other-actor');
  });

  it('needs both the actor and a proof of its key if it also has cnf', () => {
    expect(failure({ may_act: { sub: actorId }, cnf: { jkt: 'key' } })).toBe('unproved-key');
    expect(failure({ may_act: { sub: 'agt_2' }, cnf: { jkt: 'key' } }, 'key')).toBe('other-actor');
  });
});

it('a token without either is not restricted', () => {
  expect(failure({ sub: 'x' })).toBeUndefined();
  expect(keyToProve({ sub: 'x' })).toBeUndefined();
  expect(keyToProve({ cnf: { jkt: 'key' } })).toBe('key');
});
