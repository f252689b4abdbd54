import { describe, expect, it } from 'vitest';
import type { TokenSource } from '../../src/tokens/token-source.ts';
import { createUseDecisions } from '../../src/tokens/use-decisions.ts';
import { counting, engineWith, requestOf } from '../policies/fixtures.ts';

const now = new Date('2026-03-02T10:00:00.250Z');

function sourceOf(
  changes: { scopes?: string[]; grantVersion?: number; resourceVersion?: number } = {},
): TokenSource {
  const { scopes = ['read'], grantVersion = 1, resourceVersion = 1 } = changes;
  return {
    resource: {
      id: 'res_1',
      identifier: 'https://api.example/',
      epoch: 1,
      version: resourceVersion,
      tokenTtlSeconds: 300,
      requireBoundTokens: false,
      tokenAlg: 'ES256',
      authorizationDetailsTypes: [],
      catalogue: [
        { name: 'read', description: '', risk: 'low' },
        { name: 'write', description: '', risk: 'high' },
      ],
    },
    alg: 'ES256',
    grant: {
      id: 'grt_1',
      version: grantVersion,
      scopes: ['read', 'write'],
      durationSeconds: 600,
      expiresAt: new Date('2026-03-02T10:10:00Z'),
      authorizationDetails: null,
      delegation: null,
      facts: requestOf({
        context: { scopes: ['read', 'write'], max_risk: 'high', hour: 3, auth_method: 'frozen' },
      }),
      approvals: { approvals: 1, approver_groups: ['ops'] },
    },
    scope: scopes.join(' '),
    scopes,
    selection: 'best',
    authorizationDetails: undefined,
  };
}

const use = { now, address: '203.0.113.7', authMethod: 'client_secret_basic' };

function permits(when: string, source = sourceOf(), change: Partial<typeof use> = {}): boolean {
  const policy = `permit(principal, action == Action::"request", resource) when { ${when} };`;
  return createUseDecisions(engineWith(policy)).permits(source, { ...use, ...change });
}

describe('the decision about a use of a grant', () => {
  it('is made with the facts of this use, not of the request', () => {
    expect(permits('context.hour == 10 && context.weekday == 1')).toBe(true);
    expect(permits('context.hour == 3')).toBe(false);
    expect(permits('context.auth_method == "client_secret_basic"')).toBe(true);
    expect(permits('context.source_ip.isInRange(ip("203.0.113.0/24"))')).toBe(true);
    expect(
      permits('context.source_ip.isInRange(ip("203.0.113.0/24"))', sourceOf(), { address: '198.51.100.1' }),
    ).toBe(false);
  });

  it('is made with the scopes of the token and their current risk', () => {
    expect(permits('context.max_risk == "low" && context.scopes == ["read"]')).toBe(true);
    expect(permits('context.max_risk == "low"', sourceOf({ scopes: ['read', 'write'] }))).toBe(false);
  });

  it('is made with the approvals with which the grant was activated', () => {
    expect(permits('context.approvals >= 1 && context.approver_groups.contains("ops")')).toBe(true);
    expect(permits('context.approvals >= 2')).toBe(false);
  });

  it('is negative if a policy fails, even if another permits', () => {
    const policies = [
      'permit(principal, action == Action::"request", resource);',
      'forbid(principal, action == Action::"request", resource) when { context.duration_seconds * 9223372036854775807 > 0 };',
    ];
    expect(createUseDecisions(engineWith(...policies)).permits(sourceOf(), use)).toBe(false);
  });

  it('is made once for the same facts, and again if any fact differs', () => {
    const policy = 'permit(principal, action == Action::"request", resource);';
    const { engine, count } = counting(engineWith(policy));
    const decisions = createUseDecisions(engine);
    for (let i = 0; i < 5; i += 1) decisions.permits(sourceOf(), use);
    expect(count()).toBe(1);
    decisions.permits(sourceOf(), { ...use, now: new Date(now.getTime() + 1000) });
    expect(count()).toBe(1);
    decisions.permits(sourceOf(), { ...use, now: new Date(now.getTime() + 3_600_000) });
    decisions.permits(sourceOf(), { ...use, address: '198.51.100.1' });
    decisions.permits(sourceOf(), { ...use, authMethod: 'client_secret_post' });
    decisions.permits(sourceOf({ scopes: ['write'] }), use);
    decisions.permits(sourceOf({ grantVersion: 2 }), use);
    decisions.permits(sourceOf({ resourceVersion: 2 }), use);
    expect(count()).toBe(7);
    engine.load([{ id: 'pol_0', version: 2, cedar: policy.replace('permit', 'forbid') }], 2);
    expect(decisions.permits(sourceOf(), use)).toBe(false);
  });

  it('is not used from memory for another address, method, hour or set of policies', () => {
    const policy =
      'permit(principal, action == Action::"request", resource) when { context.hour == 10 && context.auth_method == "client_secret_basic" && context.source_ip == ip("203.0.113.7") };';
    const { engine, count } = counting(engineWith(policy));
    const decisions = createUseDecisions(engine);
    const source = sourceOf();
    const home = { ...use, address: '203.0.113.7' };
    const elsewhere = [
      { ...home, address: '198.51.100.1' },
      { ...home, authMethod: 'client_secret_post' },
      { ...home, now: new Date(now.getTime() + 3_600_000) },
    ];
    for (const other of elsewhere) {
      for (let i = 0; i < 2; i += 1) {
        expect(decisions.permits(source, home)).toBe(true);
        expect(decisions.permits(source, other)).toBe(false);
      }
    }
    expect(count()).toBe(1 + elsewhere.length);
    expect(decisions.permits(source, home)).toBe(true);
    engine.load([{ id: 'pol_0', version: 2, cedar: policy.replace('permit', 'forbid') }], 2);
    expect(decisions.permits(source, home)).toBe(false);
  });
});
