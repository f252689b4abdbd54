import { decodeJwt } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { exchangeGrant, tokenType } from '../oauth/token-exchange/exchange-scene.ts';
import { apiOf, createAgent, oauthPost, type TestAgent } from '../support/broker.ts';
import { createTargetAndGrant, endDue, readLease, type Scene, startScene, targetBody } from './scene.ts';

let scene: Scene;
/** A lease under a grant of another chain, which nothing ends. */
let other: Lease;

beforeAll(async () => {
  scene = await startScene();
  other = await leaseUnderLeaf(await createChain(7_200));
});

const exchange = (client: TestAgent, token: string) =>
  oauthPost(
    scene.broker,
    '/oauth2/token',
    { grant_type: exchangeGrant, subject_token: token, subject_token_type: tokenType('access_token') },
    client,
  );

/** A grant of `root` for a target, one delegated from it to `middle`, and one delegated from that to the scene's agent. */
interface Chain {
  root: TestAgent;
  rootSecretId: string;
  middle: TestAgent;
  grants: { root: string; middle: string; leaf: string };
  tokens: { root: string; middle: string };
  resource: { id: string; identifier: string; scopes: object[] };
}

async function createChain(durationSeconds = 600): Promise<Chain> {
  const [root, middle] = [await createAgent(scene.broker), await createAgent(scene.broker)];
  const { resource, grant } = await createTargetAndGrant(scene, { agent: root, durationSeconds });
  const named = { resource: resource.identifier, grant_id: grant.id };
  const first = (await root.token(named).expect(200)).body.access_token;
  const second = (await exchange(middle, first).expect(200)).body.access_token;
  const third = (await exchange(scene.agent, second).expect(200)).body.access_token;
  const grantOf = (token: string): string => String(decodeJwt(token).grant_id);
  const { secrets } = (await scene.admin.get(`/v1/agents/${root.id}`).expect(200)).body;
  return {
    ...{ root, rootSecretId: secrets[0].id, middle, resource },
    grants: { root: grant.id, middle: grantOf(second), leaf: grantOf(third) },
    tokens: { root: first, middle: second },
  };
}

async function leaseUnderLeaf({ grants }: Chain, terms: object = {}) {
  const api = await scene.as();
  return (await api.post('/v1/leases', { grant_id: grants.leaf, ...terms }).expect(201)).body;
}

type Lease = Awaited<ReturnType<typeof leaseUnderLeaf>>;

const accountOf = ({ account_name: name }: Lease) => scene.server.accounts.get(name);

const revoke = (grantId: string) =>
  scene.admin.post(`/v1/grants/${grantId}/revoke`, { reason: 'x' }).expect(200);
const revokeToken = (agent: TestAgent, token: string) =>
  oauthPost(scene.broker, '/oauth2/revoke', { token }, agent).expect(200);

const ends: [string, (chain: Chain) => PromiseLike<unknown>][] = [
  ['the first grant is revoked', ({ grants }) => revoke(grants.root)],
  [
    'the first grant is returned',
    async ({ root, grants }) =>
      (await scene.as(root)).post(`/v1/grants/${grants.root}/return`, {}).expect(200),
  ],
  ['the grant between is revoked', ({ grants }) => revoke(grants.middle)],
  [
    'the first agent is disabled',
    ({ root }) => scene.admin.post(`/v1/agents/${root.id}/disable`).expect(200),
  ],
  [
    'the agent between is disabled',
    ({ middle }) => scene.admin.post(`/v1/agents/${middle.id}/disable`).expect(200),
  ],
  ['the first agent is deleted', ({ root }) => scene.admin.delete(`/v1/agents/${root.id}`).expect(204)],
  [
    'the first agent expires',
    async ({ root }) => {
      const at = new Date(scene.clock.now().getTime() + 1_000).toISOString();
      await scene.admin.patch(`/v1/agents/${root.id}`, { expires_at: at }).expect(200);
      scene.clock.advance(2);
    },
  ],
  ['the first subject token is revoked', ({ root, tokens }) => revokeToken(root, tokens.root)],
  ['the subject token between is revoked', ({ middle, tokens }) => revokeToken(middle, tokens.middle)],
  [
    'the secret of the first agent is revoked',
    ({ root, rootSecretId }) =>
      scene.admin.delete(`/v1/agents/${root.id}/secrets/${rootSecretId}`).expect(204),
  ],
  [
    'the scope gets other roles',
    ({ resource: { id, scopes } }) =>
      scene.admin
        .patch(`/v1/resources/${id}`, {
          scopes: scopes.map((scope) => ({ ...scope, roles: ['writer'] })),
        })
        .expect(200),
  ],
  [
    'the resource is deleted',
    ({ resource }) => scene.admin.delete(`/v1/resources/${resource.id}`).expect(204),
  ],
];

describe('a lease under a delegated grant', () => {
  it.each(ends)('loses its account when %s', async (_what, end) => {
    const chain = await createChain();
    const lease = await leaseUnderLeaf(chain);
    await endDue(scene);
    expect(accountOf(lease)?.canLogIn).toBe(true);
    await end(chain);
    expect((await readLease(scene, lease.id)).status).toBe('revoking');
    const api = await scene.as();
    const refused = await api.post('/v1/leases', { grant_id: chain.grants.leaf });
    expect([refused.status, refused.body.code]).toEqual([409, 'grant-not-active']);
    expect((await api.post(`/v1/leases/${lease.id}/renew`, {})).status).toBe(409);
    await endDue(scene);
    expect(accountOf(lease)).toBeUndefined();
    const { status, cleaned_up_at } = await readLease(scene, lease.id);
    expect([status, cleaned_up_at]).toEqual(['revoked', expect.any(String)]);
    expect(accountOf(other)?.canLogIn).toBe(true);
  });

  it('loses its account when a policy forbids delegated grants; one under the first grant keeps its own', async () => {
    const chain = await createChain();
    const lease = await leaseUnderLeaf(chain);
    const api = await scene.as(chain.root);
    const first = (await api.post('/v1/leases', { grant_id: chain.grants.root }).expect(201)).body;
    const cedar = 'forbid(principal, action, resource) when { context.delegated };';
    const policy = (await scene.admin.post('/v1/policies', { name: 'no delegation', cedar }).expect(201))
      .body;
    await endDue(scene);
    expect(accountOf(lease)).toBeUndefined();
    expect(accountOf(first)?.canLogIn).toBe(true);
    await scene.admin.delete(`/v1/policies/${policy.id}`).expect(204);
  });

  it('never ends after any grant above, also when more time is requested or it is renewed', async () => {
    for (const seconds of [100, 600]) {
      const chain = await createChain(seconds);
      const lease = await leaseUnderLeaf(chain, { ttl_seconds: 3_600 });
      const api = await scene.as();
      const renewed = (await api.post(`/v1/leases/${lease.id}/renew`, { ttl_seconds: 3_600 }).expect(200))
        .body;
      const { rows } = await scene.broker.database.owner.query<{ end: Date }>(
        'select min(expires_at) as end from grants where id = any($1)',
        [Object.values(chain.grants)],
      );
      const [latest] = rows.map(({ end }) => end);
      for (const { expires_at } of [lease, renewed, await readLease(scene, lease.id)])
        expect(new Date(expires_at)).toEqual(latest);
      expect(accountOf(lease)?.expiresAt).toEqual(latest);
    }
  });

  it('ends with the expiry of the first agent, which was moved after the delegation', async () => {
    const chain = await createChain();
    const at = new Date(scene.clock.now().getTime() + 60_000).toISOString();
    await scene.admin.patch(`/v1/agents/${chain.root.id}`, { expires_at: at }).expect(200);
    const lease = await leaseUnderLeaf(chain);
    expect(new Date(lease.expires_at).toISOString()).toBe(at);
  });
});

describe('a token for a target', () => {
  it('is for the target alone: the broker does not accept it, and it makes no lease for another agent', async () => {
    const { resource, grant } = await createTargetAndGrant(scene);
    const { body } = await scene.agent.token({ resource: resource.identifier }).expect(200);
    expect(decodeJwt(body.access_token)).toMatchObject({ aud: resource.identifier, grant_id: grant.id });
    const api = apiOf(scene.broker, body.access_token);
    expect((await api.post('/v1/leases', { grant_id: grant.id })).status).toBe(401);
    const other = await scene.as(await createAgent(scene.broker));
    expect((await other.post('/v1/leases', { grant_id: grant.id })).status).toBe(404);
  });

  it('that names another agent can be exchanged by that agent alone', async () => {
    const { resource } = await createTargetAndGrant(scene);
    const [named, other] = [await createAgent(scene.broker), await createAgent(scene.broker)];
    const form = { resource: resource.identifier, may_act: named.id };
    const { body } = await scene.agent.token(form).expect(200);
    expect((await exchange(other, body.access_token).expect(400)).body.error).toBe('invalid_request');
    const grantId = (await exchange(named, body.access_token).expect(200)).body.grant_id;
    const api = await scene.as(named);
    expect((await api.post('/v1/leases', { grant_id: grantId })).status).toBe(201);
  });

  it('delegates no more scopes than it has, so its lease has no more roles', async () => {
    const resource = (await scene.admin.post('/v1/resources', targetBody()).expect(201)).body;
    const terms = { resource: resource.identifier, scopes: ['read', 'write'], duration_seconds: 600 };
    const grants = await scene.as();
    await grants.post('/v1/grants', { ...terms, reason: 'nightly report' }).expect(201);
    const token = await scene.agent.token({ resource: resource.identifier, scope: 'read' }).expect(200);
    const helper = await createAgent(scene.broker);
    const handed = (await exchange(helper, token.body.access_token).expect(200)).body;
    const api = await scene.as(helper);
    const lease = (await api.post('/v1/leases', { grant_id: handed.grant_id }).expect(201)).body;
    expect(accountOf(lease)?.roles).toEqual(['reader']);
  });
});
