import { describe, expect, it } from 'vitest';
import { checkProof, planProof } from '../../../src/agents/proofs/proof.ts';
import { Refusal } from '../../../src/errors.ts';
import type { Jwk } from '../../../src/outbound/key-source.ts';
import { createKey } from '../../support/key-agent.ts';

const jwks = { keys: [createKey().jwk] };
const jwksUri = 'https://agent.example/keys';
const anywhere = { isFetchable: () => true };
const codeOf = (plan: unknown) => (plan instanceof Refusal ? plan.error.code : plan);

describe('the keys of an agent', () => {
  it('are from one of two places, and only of an agent that proves itself by them', () => {
    expect(planProof({ to: 'private_key_jwt', terms: { jwks } })).toEqual({ jwks });
    expect(planProof({ to: 'private_key_jwt', terms: { jwksUri } })).toEqual({ jwksUri });
    for (const terms of [{}, { jwks, jwksUri }]) {
      expect(codeOf(planProof({ to: 'private_key_jwt', terms }))).toBe('invalid-request');
    }
    for (const terms of [{ jwks }, { jwksUri }, { legacyAudience: true }]) {
      expect(codeOf(planProof({ to: 'client_secret_basic', terms }))).toBe('invalid-request');
    }
    expect(planProof({ to: 'client_secret_post', terms: {} })).toBeUndefined();
  });

  it('stay as they are unless others are named, and never give way to a secret', () => {
    expect(planProof({ from: 'private_key_jwt', to: 'private_key_jwt', terms: {} })).toBeUndefined();
    expect(planProof({ from: 'private_key_jwt', to: 'private_key_jwt', terms: { jwksUri } })).toEqual({
      jwksUri,
    });
    expect(planProof({ from: 'client_secret_basic', to: 'private_key_jwt', terms: { jwks } })).toEqual({
      jwks,
    });
    expect(codeOf(planProof({ from: 'private_key_jwt', to: 'client_secret_basic', terms: {} }))).toBe(
      'conflict',
    );
  });

  it('go with their own method alone, as an identity does', () => {
    const identity = { trustedIssuerId: 'tis_1', subject: 's', claims: {} };
    expect(planProof({ to: 'federated_jwt', terms: { identity } })).toEqual({ identity });
    expect(planProof({ from: 'private_key_jwt', to: 'federated_jwt', terms: { identity } })).toEqual({
      identity,
    });
    expect(planProof({ from: 'federated_jwt', to: 'federated_jwt', terms: {} })).toBeUndefined();
    const refused = [
      planProof({ to: 'federated_jwt', terms: {} }),
      planProof({ from: 'private_key_jwt', to: 'federated_jwt', terms: {} }),
      planProof({ to: 'federated_jwt', terms: { jwks } }),
      planProof({ to: 'federated_jwt', terms: { identity, jwks } }),
      planProof({ to: 'federated_jwt', terms: { identity, legacyAudience: true } }),
      planProof({ to: 'private_key_jwt', terms: { identity } }),
      planProof({ to: 'client_secret_post', terms: { identity } }),
    ];
    expect(refused.map(codeOf)).toEqual(Array(refused.length).fill('invalid-request'));
    expect(codeOf(planProof({ from: 'federated_jwt', to: 'client_secret_post', terms: {} }))).toBe(
      'conflict',
    );
  });

  it('are all of use, public, and at an address that may be called', () => {
    const key = createKey().jwk;
    expect(checkProof({ jwks }, anywhere)).toBeUndefined();
    const bad: Jwk[][] = [
      [],
      [{ ...key, d: 'private' }],
      [{ kty: 'oct', k: 'c2VjcmV0' }],
      [{ ...key, use: 'enc' }],
      [{ ...key }, { kty: 'RSA', n: 'AQAB', e: 'AQAB' }],
      Array.from({ length: 21 }, (_, n) => ({ ...key, kid: `k${n}` })),
      [{ ...key }, { ...key }],
      [createKey().jwk, createKey().jwk].map(({ kid: _, ...jwk }) => ({ ...jwk })),
    ];
    for (const keys of bad) expect(checkProof({ jwks: { keys } }, anywhere)).toMatch(/jwks/);
    expect(checkProof({ jwksUri }, anywhere)).toBeUndefined();
    expect(checkProof({ jwksUri }, { isFetchable: (url) => url !== jwksUri })).toMatch(/jwks_uri/);
  });

  it('are no identity that could never be proved', () => {
    const of = (subject: string, issuer: string) =>
      checkProof({ identity: { trustedIssuerId: 'tis_1', subject, claims: {} } }, { ...anywhere, issuer });
    expect(of('https://ci.example', 'https://ci.example')).toMatch(/subject/);
    expect(of('spiffe://other.org/a', 'spiffe://example.org')).toMatch(/SPIFFE/);
    expect(of('spiffe://example.org.evil/a', 'spiffe://example.org')).toMatch(/SPIFFE/);
    expect(of('spiffe://example.org/a', 'spiffe://example.org')).toBeUndefined();
    expect(of('a', 'https://ci.example')).toBeUndefined();
  });
});
