import { describe, expect, it } from 'vitest';
import { toCanonicalConditions } from '../../src/trusted-issuers/conditions.ts';
import { identifyingClaim, toIdentifyingClaims, tupleProblem } from '../../src/trusted-issuers/identity.ts';

const issuer = 'https://agent.buildkite.com';
const problem = (claims: Record<string, string | string[]>, tenantClaims: string[] = []) =>
  tupleProblem({ subject: null, claims }, { issuer, tenantClaims });

describe('an identity without a subject', () => {
  it('needs a claim that names the tenant, either a built-in one or one of the issuer’s tenant_claims', () => {
    expect(problem({ organization_slug: 'acme', pipeline_slug: 'deploy' })).toBeUndefined();
    expect(problem({ 'oidc.circleci.com/project-id': '6a1b' })).toBeUndefined();
    expect(problem({ terraform_workspace_id: 'ws-1', terraform_run_phase: 'apply' })).toBeUndefined();
    expect(problem({ account: 'acme' })).toMatch(/names the tenant/);
    expect(problem({ account: 'acme' }, ['account'])).toBeUndefined();
    expect(problem({ '/account/id': 'acme' }, ['/account/id'])).toBeUndefined();
  });

  it.each<[string, Record<string, string | string[]>]>([
    ['a branch alone, which every repository has', { ref: 'refs/heads/main' }],
    ['the slug of a pipeline, which is unique only within an organization', { pipeline_slug: 'deploy' }],
    ['several tenants in one condition', { repository: ['octo-org/a', 'octo-org/b'] }],
    ['no claims', {}],
  ])('is refused with %s', (_, claims) => {
    expect(problem(claims)).toMatch(/names the tenant/);
  });

  it.each<[string, Record<string, string | number | boolean>]>([
    ['an empty value', { enterprise: '' }],
    ['a boolean', { enterprise: true }],
  ])('has no tenant in %s', (_, claims) => {
    expect(tupleProblem({ subject: null, claims }, { issuer, tenantClaims: [] })).toMatch(/names the tenant/);
  });

  it('is found by the tenant claim that the fewest tokens share, and an identity with a subject by its subject', () => {
    const claims = { repository_owner_id: '1', repository_id: '2', environment: 'prod' };
    expect(identifyingClaim({ subject: null, claims }, [])).toBe('repository_id=2');
    expect(identifyingClaim({ subject: 'repo:a', claims }, [])).toBe('sub=repo:a');
    expect(identifyingClaim({ subject: null, claims: {} }, [])).toBeUndefined();
  });
});

describe('the claims by which a token finds an identity', () => {
  it('are its subject and the tenant claims of the issuer and of platforms, also by JSON Pointer', () => {
    const claims = { sub: 's', project_id: 7, ref: 'main', account: { id: 'a' }, repository: ['x'] };
    expect(toIdentifyingClaims(claims, ['/account/id', '/sub'])).toEqual([
      ...['sub=s', '/account/id=a', '/sub=s', 'project_id=7'],
    ]);
  });

  it('are limited in number and length for any token, and can always be stored in the database', () => {
    const inner = Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`${n}x`, 1]));
    const found = toIdentifyingClaims(
      { ['n'.repeat(4_500)]: inner, sub: 's', project_id: 'y'.repeat(4_000) },
      [],
    );
    expect(found).toEqual(['sub=s']);
    expect(toIdentifyingClaims({ sub: 'a\u0000b', repository: '\ud800' }, [])).toEqual([]);
  });
});

describe('canonical conditions', () => {
  it('have sorted lists without duplicates, and a single value instead of a list of one value', () => {
    expect(toCanonicalConditions({ a: ['y', 'x', 'y'], b: ['z'], c: 1, d: [1, '1', true] })).toEqual({
      a: ['x', 'y'],
      b: 'z',
      c: 1,
      d: ['1', 1, true],
    });
    expect(toCanonicalConditions({ d: [true, '1', 1] })).toEqual({ d: ['1', 1, true] });
  });
});
