import { describe, expect, it } from 'vitest';
import { matchIdentity, nearestIdentities, refuseIdentity } from '../../src/client-auth/workload-identity.ts';

const claims = { sub: 'repo:a:ref:main', exp: 1, repository_id: '7', environment: 'prod' };
const identity = (id: string, agentId: string, rest: object) => ({
  id,
  agentId,
  subject: null,
  claims: {},
  ...rest,
});

describe('a verified token', () => {
  it('matches an identity by its subject, by its claims, or by both', () => {
    const [bySubject, byClaims] = [
      identity('prf_1', 'agt_1', { subject: claims.sub }),
      identity('prf_2', 'agt_1', { claims: { repository_id: '7', environment: ['prod', 'dev'] } }),
    ];
    expect(matchIdentity(claims, [bySubject])).toEqual({ ok: true, identity: bySubject });
    expect(matchIdentity(claims, [byClaims])).toEqual({ ok: true, identity: byClaims });
    // Both identities belong to one agent, so the agent is not ambiguous.
    expect(matchIdentity(claims, [bySubject, byClaims])).toEqual({ ok: true, identity: bySubject });
  });

  it('that matches identities of two agents is refused', () => {
    const identities = [
      identity('prf_1', 'agt_1', { subject: claims.sub }),
      identity('prf_2', 'agt_2', { claims: { repository_id: '7' } }),
    ];
    expect(matchIdentity(claims, identities)).toEqual({ ok: false, reason: 'several-agents' });
  });

  it('that matches no identity is refused with the differences from the nearest one', () => {
    const identities = [
      identity('prf_1', 'agt_1', { subject: 'other', claims: { environment: 'dev' } }),
      identity('prf_2', 'agt_2', { claims: { repository_id: '7', environment: 'dev' } }),
    ];
    expect(matchIdentity(claims, identities)).toBeUndefined();
    expect(refuseIdentity(claims, identities)).toEqual({
      ok: false,
      reason: 'wrong-identity',
      detail: 'agent agt_2: environment is "prod", expected "dev"',
    });
    expect(nearestIdentities(claims, identities).map((each) => each.differences.length)).toEqual([1, 2]);
    expect(refuseIdentity(claims, [])).toMatchObject({ ok: false, reason: 'unknown-identity' });
  });

  it('with a number does not match an identity with the same digits as a string', () => {
    const identities = [identity('prf_1', 'agt_1', { claims: { repository_id: '7' } })];
    expect(matchIdentity({ ...claims, repository_id: 7 } as never, identities)).toBeUndefined();
  });
});
