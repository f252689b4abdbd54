import { describe, expect, it } from 'vitest';
import { checkCredential, planCredential } from '../../../src/agents/credentials/credential.ts';
import { Refusal } from '../../../src/errors.ts';
import type { Jwk } from '../../../src/outbound/key-source.ts';
import { createKey } from '../../support/key-agent.ts';

const jwks = { keys: [createKey().jwk] };
const jwksUri = 'https://agent.example/keys';
const anywhere = { isFetchable: () => true, issuers: new Map() };
const codeOf = (plan: unknown) => (plan instanceof Refusal ? plan.error.code : plan);

describe('the keys of an agent', () => {
  it('are given in one of two ways, and only for an agent that authenticates by keys', () => {
    expect(planCredential({ to: 'private_key_jwt', terms: { jwks } })).toEqual({ jwks });
    expect(planCredential({ to: 'private_key_jwt', terms: { jwksUri } })).toEqual({ jwksUri });
    for (const terms of [{}, { jwks, jwksUri }]) {
      expect(codeOf(planCredential({ to: 'private_key_jwt', terms }))).toBe('invalid-request');
    }
    for (const terms of [{ jwks }, { jwksUri }, { legacyAudience: true }]) {
      expect(codeOf(planCredential({ to: 'client_secret_basic', terms }))).toBe('invalid-request');
    }
    expect(planCredential({ to: 'client_secret_post', terms: {} })).toBeUndefined();
  });

  it('stay as they are unless others are named, and never give way to a secret', () => {
    expect(planCredential({ from: 'private_key_jwt', to: 'private_key_jwt', terms: {} })).toBeUndefined();
    expect(planCredential({ from: 'private_key_jwt', to: 'private_key_jwt', terms: { jwksUri } })).toEqual({
      jwksUri,
    });
    expect(planCredential({ from: 'client_secret_basic', to: 'private_key_jwt', terms: { jwks } })).toEqual({
      jwks,
    });
    expect(codeOf(planCredential({ from: 'private_key_jwt', to: 'client_secret_basic', terms: {} }))).toBe(
      'conflict',
    );
  });

  it('can be used only with their own method, as an identity can', () => {
    const identities = [{ trustedIssuerId: 'tis_1', subject: 's', claims: {} }];
    expect(planCredential({ to: 'federated_jwt', terms: { identities } })).toEqual({ identities });
    expect(planCredential({ from: 'private_key_jwt', to: 'federated_jwt', terms: { identities } })).toEqual({
      identities,
    });
    expect(planCredential({ from: 'federated_jwt', to: 'federated_jwt', terms: {} })).toBeUndefined();
    const refused = [
      planCredential({ to: 'federated_jwt', terms: {} }),
      planCredential({ from: 'private_key_jwt', to: 'federated_jwt', terms: {} }),
      planCredential({ to: 'federated_jwt', terms: { jwks } }),
      planCredential({ to: 'federated_jwt', terms: { identities, jwks } }),
      planCredential({ to: 'federated_jwt', terms: { identities, legacyAudience: true } }),
      planCredential({ to: 'private_key_jwt', terms: { identities } }),
      planCredential({ to: 'client_secret_post', terms: { identities } }),
    ];
    expect(refused.map(codeOf)).toEqual(Array(refused.length).fill('invalid-request'));
    expect(codeOf(planCredential({ from: 'federated_jwt', to: 'client_secret_post', terms: {} }))).toBe(
      'conflict',
    );
  });

  it('are public, at least one is usable, and the broker may call their address', () => {
    const key = createKey().jwk;
    expect(checkCredential({ jwks }, anywhere)).toBeUndefined();
    const bad: Jwk[][] = [
      [],
      [{ ...key, d: 'private' }],
      [{ kty: 'oct', k: 'c2VjcmV0' }],
      [{ ...key, use: 'enc' }],
      [{ kty: 'RSA', n: 'AQAB', e: 'AQAB' }],
      Array.from({ length: 21 }, (_, n) => ({ ...key, kid: `k${n}` })),
      [{ ...key }, { ...key }],
      [createKey().jwk, createKey().jwk].map(({ kid: _, ...jwk }) => ({ ...jwk })),
    ];
    for (const keys of bad) expect(checkCredential({ jwks: { keys } }, anywhere)).toMatch(/jwks/);
    expect(checkCredential({ jwksUri }, anywhere)).toBeUndefined();
    expect(checkCredential({ jwksUri }, { ...anywhere, isFetchable: (url) => url !== jwksUri })).toMatch(
      /jwks_uri/,
    );
  });

  it('are refused as an identity that no token can match', () => {
    const of = (subject: string, issuer: string) =>
      checkCredential(
        { identities: [{ trustedIssuerId: 'tis_1', subject, claims: {} }] },
        { ...anywhere, issuers: new Map([['tis_1', { issuer, tenantClaims: [] }]]) },
      );
    expect(of('https://ci.example', 'https://ci.example')).toMatch(/subject/);
    expect(of('spiffe://other.org/a', 'spiffe://example.org')).toMatch(/SPIFFE/);
    expect(of('spiffe://example.org.evil/a', 'spiffe://example.org')).toMatch(/SPIFFE/);
    expect(of('spiffe://example.org/a', 'spiffe://example.org')).toBeUndefined();
    expect(of('a', 'https://ci.example')).toBeUndefined();
  });
});
