import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { requireGrantType } from '../../src/oauth/grant-types.ts';
import { emptyParameters } from '../../src/oauth/shape.ts';
import { toTokenRequest } from '../../src/oauth/steps/request-own-token.ts';
import { codeThrown } from './refusals.ts';

const issuer = 'https://hallpass.test';
const resource = 'https://api.example';

/** Runs the shape checks of the form's grant type. */
function readForm(fields: Record<string, string>) {
  const form = new Map(Object.entries(fields));
  const credentials = { method: 'client_secret_post', clientId: 'agt_1', secret: 's' } as const;
  const parameters = emptyParameters();
  const { shape } = requireGrantType(form).checksOf(form, credentials);
  for (const check of shape) check(form, parameters, issuer);
  return toTokenRequest(parameters, issuer);
}
const read = (form: Record<string, string>, grantType = 'client_credentials') =>
  readForm({ grant_type: grantType, ...form });

describe('a token request', () => {
  it('is for a broker token without resource and scope, or with the issuer as resource', () => {
    for (const form of [
      {},
      { resource: issuer },
      { resource: `${issuer}/` },
      { resource: issuer, scope: 'hallpass' },
    ]) {
      expect(read(form as Record<string, string>)).toEqual({ kind: 'broker' });
    }
  });

  it('is for an access token with any other resource, with or without scope and grant', () => {
    expect(read({ resource })).toEqual({ kind: 'access', resource, scopes: undefined, grantId: undefined });
    expect(read({ resource, scope: 'b a b', grant_id: 'grt_1' })).toEqual({
      kind: 'access',
      resource,
      scopes: ['b', 'a'],
      grantId: 'grt_1',
    });
    for (const near of [`${issuer}//`, `${issuer}.evil`, `${issuer}/v1`, issuer.toUpperCase()]) {
      expect(read({ resource: near })).toMatchObject({ kind: 'access', resource: near });
    }
  });

  it('accepts every scope-token of RFC 6749 and nothing else, separated by single spaces', () => {
    const token = /^[\x21\x23-\x5b\x5d-\x7e]{1,128}$/;
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.oneof(
            fc.constantFrom(' ', '"', '\\', 'a', 'é'),
            fc.string({ unit: 'binary-ascii', maxLength: 1 }),
          ),
          minLength: 1,
        }),
        (scope) => {
          const good = scope.split(' ').every((part) => token.test(part));
          if (good)
            expect(read({ resource, scope })).toMatchObject({ scopes: [...new Set(scope.split(' '))] });
          else expect(codeThrown(() => read({ resource, scope }))).toBe('invalid-scope');
        },
      ),
    );
  });

  it('names at most 100 scopes of at most 128 characters', () => {
    const scopes = (count: number): string => Array.from({ length: count }, (_, i) => `s${i}`).join(' ');
    expect(read({ resource, scope: scopes(100) })).toMatchObject({ kind: 'access' });
    expect(codeThrown(() => read({ resource, scope: scopes(101) }))).toBe('invalid-scope');
    expect(read({ resource, scope: 'a'.repeat(128) })).toMatchObject({ kind: 'access' });
    expect(codeThrown(() => read({ resource, scope: 'a'.repeat(129) }))).toBe('invalid-scope');
  });

  it.each([
    [{ scope: 'read' }, 'invalid-target'],
    [{ scope: 'hallpass' }, 'invalid-target'],
    [{ resource: issuer, scope: 'read' }, 'invalid-scope'],
    [{ resource: issuer, scope: 'hallpass read' }, 'invalid-scope'],
    [{ grant_id: 'grt_1' }, 'invalid-request'],
    [{ resource: issuer, grant_id: 'grt_1' }, 'invalid-request'],
  ])('is refused where it asks for what is not there: %j', (form, code) => {
    expect(codeThrown(() => read(form as Record<string, string>))).toBe(code);
  });

  it.each([
    'audience',
    'claims',
    'dpop_jkt',
    'req_cnf',
    'actor_token',
  ])('is refused where it asks for a restriction that cannot be honoured: %s', (name) => {
    expect(codeThrown(() => read({ resource, scope: 'read', [name]: 'x' }))).toBe('not-supported');
    expect(codeThrown(() => read({ [name]: 'x' }))).toBe('not-supported');
  });

  it('may have unknown parameters, which are ignored', () => {
    expect(read({ foo: 'bar', state: 'x' })).toEqual({ kind: 'broker' });
  });

  it('must name a supported grant type', () => {
    expect(codeThrown(() => readForm({}))).toBe('invalid-request');
    for (const other of ['password', 'refresh_token', 'authorization_code', 'Client_Credentials']) {
      expect(codeThrown(() => read({}, other))).toBe('unsupported-grant-type');
    }
  });
});
