import { beforeAll, describe, expect, it } from 'vitest';
import { createKey } from '../support/key-agent.ts';
import { signIssuerToken } from '../support/test-issuer.ts';
import { createIdentityScene, type IdentityScene } from './identity-scene.ts';

let scene: IdentityScene;
beforeAll(async () => {
  scene = await createIdentityScene();
});

describe('an agent with several identities', () => {
  it('is authenticated by each of them, and keeps the tokens of each identity that stays', async () => {
    const { id: trusted_issuer_id, issueToken } = await scene.createIssuer();
    const [main, prod, later] = ['ref:refs/heads/main', 'environment:prod', 'environment:dev'].map((end) => ({
      trusted_issuer_id,
      subject: `repo:octo-org/octo-repo:${end}`,
    })) as [Identity, Identity, Identity];
    const id = await scene.createAgent([main, prod]);
    const { body } = await scene.admin().get(`/v1/agents/${id}`).expect(200);
    expect(body).toMatchObject({ identity: null, identities: [main, prod] });
    for (const { subject } of [main, prod]) expect(await scene.agentOf(await issueToken(subject))).toBe(id);
    await scene.expectRefused(await issueToken(later.subject));

    const own = (await scene.asGrant(await issueToken(prod.subject)).expect(200)).body.access_token;
    const ask = () =>
      fetch(`${scene.replica.url}/v1/grants`, { headers: { Authorization: `Bearer ${own}` } });
    await scene
      .admin()
      .patch(`/v1/agents/${id}`, { identities: [later, prod] })
      .expect(200);
    expect((await ask()).status).toBe(200);
    await scene.expectRefused(await issueToken(main.subject));
    await scene.admin().patch(`/v1/agents/${id}`, { identity: later }).expect(200);
    expect((await ask()).status).toBe(401);
    expect((await scene.admin().get(`/v1/agents/${id}`)).body).toMatchObject({
      identity: later,
      identities: [later],
    });
  });

  it.each<[string, (issuer: string) => object]>([
    ['both forms at once', (issuer) => ({ identity: { trusted_issuer_id: issuer, subject: 's' } })],
    ['an empty list', () => ({ identities: [] })],
    [
      'more than 20',
      (issuer) => ({
        identities: Array.from({ length: 21 }, (_, n) => ({ trusted_issuer_id: issuer, subject: `${n}` })),
      }),
    ],
    [
      'an identity at an issuer that is not trusted',
      () => ({ identities: [{ trusted_issuer_id: 'tis_01kjdw0a5vf8h8v0m6gq3r9x2c', subject: 's' }] }),
    ],
    [
      'a branch without a tenant',
      (issuer) => ({ identities: [{ trusted_issuer_id: issuer, claims: { ref: 'refs/heads/main' } }] }),
    ],
  ])('is refused with %s', async (_, change) => {
    const { id } = await scene.createIssuer();
    const terms = await scene.agentTerms([{ trusted_issuer_id: id, subject: 's' }]);
    const refused = await scene
      .admin()
      .post('/v1/agents', { ...terms, ...change(id) })
      .expect(400);
    expect(refused.body.code).toBe('invalid-request');
  });
});

interface Identity {
  trusted_issuer_id: string;
  subject: string;
}

describe('an identity by claims, for a platform whose subject changes with each run', () => {
  const run = (n: number) => `organization:acme:pipeline:deploy:ref:refs/heads/main:commit:${n}:step:build`;

  it('matches every run with its claims, and no other', async () => {
    const { id: trusted_issuer_id, issueToken } = await scene.createIssuer();
    const claims = { organization_slug: 'acme', pipeline_slug: 'deploy' };
    const id = await scene.createAgent([{ trusted_issuer_id, claims }]);
    for (const n of [1, 2])
      expect(await scene.agentOf(await issueToken(run(n), { ...claims, build_number: n }))).toBe(id);
    await scene.expectRefused(await issueToken(run(3), { ...claims, pipeline_slug: 'test' }));
    await scene.expectRefused(await issueToken(run(3), { ...claims, organization_slug: 'evil' }));
    await scene.expectRefused(await issueToken(run(3), { pipeline_slug: 'deploy' }));
    await scene.expectRefused(await issueToken(run(3), { ...claims, organization_slug: ['acme'] }));
  });

  it('belongs to one agent, regardless of how its conditions are written', async () => {
    const { id: trusted_issuer_id } = await scene.createIssuer({ tenant_claims: ['account'] });
    const conditions = { account: 'acme', ref: ['main', 'next'] };
    await scene.createAgent([{ trusted_issuer_id, claims: conditions }]);
    const same = { ref: ['next', 'main', 'next'], account: ['acme'] };
    const terms = await scene.agentTerms([{ trusted_issuer_id, claims: same }]);
    // A list of one value equals that value, which names the tenant.
    expect((await scene.admin().post('/v1/agents', terms).expect(409)).body.code).toBe('conflict');
    await scene.createAgent([{ trusted_issuer_id, claims: { ...conditions, ref: 'main' } }]);
  });

  it('authenticates no agent if the token also matches the identity of another agent', async () => {
    const { id: trusted_issuer_id, issueToken } = await scene.createIssuer();
    const wide = await scene.createAgent([{ trusted_issuer_id, claims: { organization_slug: 'acme' } }]);
    await scene.createAgent([
      { trusted_issuer_id, claims: { organization_slug: 'acme', pipeline_slug: 'deploy' } },
    ]);
    const token = await issueToken(run(1), { organization_slug: 'acme', pipeline_slug: 'deploy' });
    await scene.expectRefused(token);
    const other = await issueToken(run(1), { organization_slug: 'acme', pipeline_slug: 'test' });
    expect(await scene.agentOf(other)).toBe(wide);
  });

  it('authenticates no agent if the token may match more than 1,000 identities, one of which is its own', async () => {
    const { id: trusted_issuer_id, issueToken } = await scene.createIssuer();
    const identity = (pipeline: number) => ({
      trusted_issuer_id,
      claims: { organization_slug: 'acme', pipeline_slug: [`p${pipeline}`, 'other'] },
    });
    const twenty = (agent: number) => Array.from({ length: 20 }, (_, n) => identity(agent * 20 + n));
    const agents: string[] = [];
    for (let agent = 0; agent < 50; agent += 1) agents.push(await scene.createAgent(twenty(agent)));
    const token = await issueToken(run(1), { organization_slug: 'acme', pipeline_slug: 'p999' });
    expect(await scene.agentOf(token)).toBe(agents[49]);
    await scene.createAgent([identity(1_000)]);
    await scene.expectRefused(token);
  });
});

describe('trusted issuers with the same iss', () => {
  it('may have different keys: a token authenticates at the issuer that signed it', async () => {
    const issuer = 'https://kubernetes.default.svc.cluster.local';
    const [one, two] = [await scene.createIssuer({ issuer }), await scene.createIssuer({ issuer })];
    const subject = 'system:serviceaccount:prod:agent';
    const first = await scene.createAgent([{ trusted_issuer_id: one.id, subject }]);
    const second = await scene.createAgent([{ trusted_issuer_id: two.id, subject }]);
    expect(await scene.agentOf(await one.issueToken(subject))).toBe(first);
    expect(await scene.agentOf(await two.issueToken(subject))).toBe(second);
    const stranger = signIssuerToken({ issuer, key: createKey(), now: () => scene.clock.now() }, subject);
    await scene.expectRefused(await stranger);
  });

  it('may have different audiences', async () => {
    const issuer = 'https://one-iss-two-audiences.example';
    const one = await scene.createIssuer({ issuer });
    const { key } = one;
    const other = await scene.trust({ issuer, jwks: one.jwks, audience: 'https://other.example' });
    const first = await scene.createAgent([{ trusted_issuer_id: one.id, subject: 's' }]);
    const second = await scene.createAgent([{ trusted_issuer_id: other, subject: 's' }]);
    const issueToken = (aud?: string) =>
      signIssuerToken({ issuer, key, now: () => scene.clock.now() }, 's', {
        claims: aud === undefined ? {} : { aud },
      });
    expect(await scene.agentOf(await issueToken())).toBe(first);
    expect(await scene.agentOf(await issueToken('https://other.example'))).toBe(second);
  });

  it('are refused if they have the same audience and keys, also when a change would cause that', async () => {
    const { issuer, jwks } = await scene.createIssuer();
    const again = { name: 'again', issuer, jwks };
    expect((await scene.admin().post('/v1/trusted-issuers', again).expect(409)).body.code).toBe('conflict');
    const id = await scene.trust({ ...again, audience: 'https://other.example' });
    const change = { audience: 'https://hallpass.test' };
    expect((await scene.admin().patch(`/v1/trusted-issuers/${id}`, change).expect(409)).body.code).toBe(
      'conflict',
    );
  });

  it('authenticate nobody if both accept the token', async () => {
    const one = await scene.createIssuer();
    const both = { keys: [...one.jwks.keys, createKey().jwk] };
    await scene.createAgent([{ trusted_issuer_id: one.id, subject: 's' }]);
    expect(await scene.agentOf(await one.issueToken('s'))).toMatch(/^agt_/);
    await scene.trust({ issuer: one.issuer, jwks: both });
    scene.clock.advance(2);
    await scene.expectRefused(await one.issueToken('s'));
  });

  it('authenticate an agent at the one that accepts its token while the keys of the other cannot be read', async () => {
    const { issuer, state, token } = scene.platform;
    const key = createKey();
    const trusted_issuer_id = await scene.trust({ issuer, jwks: { keys: [key.jwk] } });
    const id = await scene.createAgent([{ trusted_issuer_id, subject: 's' }]);
    state.isDown = true;
    scene.clock.advance(60);
    expect(await scene.agentOf(await token('s', { key }))).toBe(id);
    await scene.asGrant(await token('s')).expect(400);
    state.isDown = false;
  });
});
