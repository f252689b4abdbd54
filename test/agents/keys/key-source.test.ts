import { describe, expect, it } from 'vitest';
import { checkKeySource, type Jwk, planKeys } from '../../../src/agents/keys/key-source.ts';
import { Refusal } from '../../../src/errors.ts';
import { createKey } from '../../support/key-agent.ts';

const jwks = { keys: [createKey().jwk] };
const jwksUri = 'https://agent.example/keys';
const anywhere = () => true;
const codeOf = (plan: unknown) => (plan instanceof Refusal ? plan.error.code : plan);

describe('the keys of an agent', () => {
  it('are from one of two places, and only of an agent that proves itself by them', () => {
    expect(planKeys({ to: 'private_key_jwt', terms: { jwks } })).toEqual({ jwks });
    expect(planKeys({ to: 'private_key_jwt', terms: { jwksUri } })).toEqual({ jwksUri });
    for (const terms of [{}, { jwks, jwksUri }]) {
      expect(codeOf(planKeys({ to: 'private_key_jwt', terms }))).toBe('invalid-request');
    }
    for (const terms of [{ jwks }, { jwksUri }, { legacyAudience: true }]) {
      expect(codeOf(planKeys({ to: 'client_secret_basic', terms }))).toBe('invalid-request');
    }
    expect(planKeys({ to: 'client_secret_post', terms: {} })).toBeUndefined();
  });

  it('stay as they are unless others are named, and never give way to a secret', () => {
    expect(planKeys({ from: 'private_key_jwt', to: 'private_key_jwt', terms: {} })).toBeUndefined();
    expect(planKeys({ from: 'private_key_jwt', to: 'private_key_jwt', terms: { jwksUri } })).toEqual({
      jwksUri,
    });
    expect(planKeys({ from: 'client_secret_basic', to: 'private_key_jwt', terms: { jwks } })).toEqual({
      jwks,
    });
    expect(codeOf(planKeys({ from: 'private_key_jwt', to: 'client_secret_basic', terms: {} }))).toBe(
      'conflict',
    );
  });

  it('are all of use, public, and at an address that may be called', () => {
    const key = createKey().jwk;
    expect(checkKeySource({ jwks }, anywhere)).toBeUndefined();
    const bad: Jwk[][] = [
      [],
      [{ ...key, d: 'private' }],
      [{ kty: 'oct', k: 'c2VjcmV0' }],
      [{ ...key, use: 'enc' }],
      [{ ...key }, { kty: 'RSA', n: 'AQAB', e: 'AQAB' }],
      Array.from({ length: 101 }, () => ({ ...key })),
    ];
    for (const keys of bad) expect(checkKeySource({ jwks: { keys } }, anywhere)).toMatch(/jwks/);
    expect(checkKeySource({ jwksUri }, anywhere)).toBeUndefined();
    expect(checkKeySource({ jwksUri }, (url) => url !== jwksUri)).toMatch(/jwks_uri/);
  });
});
