import { beforeAll, describe, expect, it } from 'vitest';
import { startHttpsServer } from '../outbound/https-server.ts';
import {
  asBootstrap,
  createPerson,
  createPolicy,
  createResource,
  grantRequest,
  startBroker,
  type TestPerson,
} from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { createKey } from '../support/key-agent.ts';
import { createTestOutbound, type Platform, signIssuerToken, startPlatform } from '../support/test-issuer.ts';
import { createFederationScene, type FederationScene } from './federation-scene.ts';

let clock: FederationScene['clock'];
let broker: FederationScene['broker'];
let replica: FederationScene['replica'];
let platform: FederationScene['platform'];
let trust: FederationScene['trust'];
let asGrant: FederationScene['asGrant'];
let createFederated: FederationScene['createFederated'];
let expectRefused: FederationScene['expectRefused'];
beforeAll(async () => {
  ({ clock, broker, replica, platform, trust, asGrant, createFederated, expectRefused } =
    await createFederationScene());
});

/**
 * Reads the audit events of an agent from the database: the API does not serve the newest until every older
 * transaction has ended.
 */
async function historyOf(agentId: string): Promise<string[]> {
  const text = 'select type from audit_events where agent_id = $1 order by tx, id';
  const { rows } = await broker.database.owner.query<{ type: string }>(text, [agentId]);
  return rows.map(({ type }) => type);
}

describe('the keys of a platform', () => {
  it('are found by discovery once, and again for a new key, but at most once in 30 s', async () => {
    const { sub } = await createFederated();
    clock.advance(31);
    const next = createKey();
    platform.state.keys = [platform.key, next];
    const before = platform.server.requests.length;
    await asGrant(await platform.token(sub, { key: next })).expect(200);
    expect(platform.server.requests.length).toBe(before + 2);
    const strangers = await Promise.all(
      Array.from({ length: 20 }, () => platform.token(sub, { key: createKey() })),
    );
    const statuses = await Promise.all(strangers.map(async (token) => (await asGrant(token)).status));
    expect(new Set(statuses)).toEqual(new Set([400]));
    expect(platform.server.requests.length).toBe(before + 2);
    platform.state.keys = [platform.key];
  });

  it.each<[string, (state: Platform['state']) => void]>([
    ['names another issuer', (state) => Object.assign(state, { named: 'https://evil.test' })],
    ['names itself with a slash', (state) => Object.assign(state, { named: `${state.named}/` })],
    ['is down', (state) => Object.assign(state, { isDown: true })],
  ])('are nobody’s if its discovery %s', async (_, spoil) => {
    const other = await startPlatform(clock);
    spoil(other.state);
    const trusted_issuer_id = await trust({ issuer: other.issuer });
    const { sub } = await createFederated({ trusted_issuer_id });
    await expectRefused(await other.token(sub));
  });

  it.each([
    '127.0.0.2',
    '::1',
  ])('are not fetched from an address that is not allowed, though they are there: %s', async (host) => {
    const strict = await startBroker({
      clock,
      database: broker.database,
      overrides: { outbound: createTestOutbound(['127.0.0.1/32']) },
    });
    const other = await startPlatform(clock);
    const canary = await startHttpsServer((_request, response) => {
      response.end(JSON.stringify({ keys: [other.key.jwk] }));
    }, host);
    const at = host.includes(':') ? `[${host}]` : host;
    other.state.jwksUri = `https://${at}:${canary.port}/keys`;
    const trusted_issuer_id = await trust({ issuer: other.issuer });
    const { sub } = await createFederated({ trusted_issuer_id });
    await asGrant(await other.token(sub), {}, strict).expect(400);
    expect(other.server.requests).toHaveLength(1);
    expect(canary.accepted()).toBe(0);
  });

  it('may be registered instead, and are then not fetched', async () => {
    const other = await startPlatform(clock);
    const trusted_issuer_id = await trust({ issuer: other.issuer, jwks: { keys: [other.key.jwk] } });
    const { sub } = await createFederated({ trusted_issuer_id });
    await asGrant(await other.token(sub)).expect(200);
    expect(other.server.requests).toHaveLength(0);
  });
});

describe('a platform that changes', () => {
  const ownOf = async (token: string) => (await asGrant(token).expect(200)).body.access_token as string;
  const ask = async (own: string) =>
    (await fetch(`${replica.url}/v1/grants`, { headers: { Authorization: `Bearer ${own}` } })).status;

  it.each<[string, object]>([
    ['keys', { jwks: { keys: [createKey().jwk] } }],
    ['audience', { audience: 'https://elsewhere.test' }],
    ['conditions', { claims: { environment: 'production' } }],
  ])('in its %s ends what its agents got before, at once and in their own history', async (_, change) => {
    const other = await startPlatform(clock);
    const trusted_issuer_id = await trust({ issuer: other.issuer });
    const { id, sub } = await createFederated({ trusted_issuer_id });
    const own = await ownOf(await other.token(sub));
    expect(await ask(own)).toBe(200);
    await asBootstrap(broker).patch(`/v1/trusted-issuers/${trusted_issuer_id}`, change).expect(200);
    expect(await ask(own)).toBe(401);
    await expectRefused(await other.token(sub));
    expect(await historyOf(id)).toContain('agent_credential.renewed');
  });

  it('only in its name ends nothing', async () => {
    const other = await startPlatform(clock);
    const trusted_issuer_id = await trust({ issuer: other.issuer });
    const { sub } = await createFederated({ trusted_issuer_id });
    const own = await ownOf(await other.token(sub));
    await asBootstrap(broker)
      .patch(`/v1/trusted-issuers/${trusted_issuer_id}`, { name: 'other', claims: {} })
      .expect(200);
    expect(await ask(own)).toBe(200);
  });

  it('while its keys are being read gets no token by its earlier terms', async () => {
    const other = await startPlatform(clock);
    const trusted_issuer_id = await trust({ issuer: other.issuer });
    const { sub } = await createFederated({ trusted_issuer_id });
    let goOn: () => void = () => {};
    other.state.hold = new Promise((resolve) => {
      goOn = resolve;
    });
    const asked = asGrant(await other.token(sub)).then((answer) => answer);
    await eventually(async () => expect(other.server.requests).toHaveLength(1));
    const claims = { environment: 'production' };
    await asBootstrap(broker).patch(`/v1/trusted-issuers/${trusted_issuer_id}`, { claims }).expect(200);
    goOn();
    expect((await asked).status).toBe(400);
  });

  it('that cannot be reached does not affect the rate limit of its agents: they are not counted as guessing', async () => {
    const limited = await startBroker({
      clock,
      database: broker.database,
      config: { rateLimitPerSecond: 50 },
      overrides: { outbound: createTestOutbound() },
    });
    const other = await startPlatform(clock);
    other.state.isDown = true;
    const trusted_issuer_id = await trust({ issuer: other.issuer });
    const { sub } = await createFederated({ trusted_issuer_id });
    for (let n = 0; n < 10; n += 1) await asGrant(await other.token(sub), {}, limited).expect(400);
    for (let n = 0; n < 4; n += 1) await asGrant(await platform.token('nobody'), {}, limited).expect(400);
    await asGrant(await platform.token('nobody'), {}, limited).expect(429);
  });
});

describe('a platform that is trusted no longer', () => {
  it('ends at once what its agents obtained with its tokens', async () => {
    const other = await startPlatform(clock);
    const trusted_issuer_id = await trust({ issuer: other.issuer });
    const { id, sub } = await createFederated({ trusted_issuer_id });
    const token = await other.token(sub);
    const own = (await asGrant(token).expect(200)).body.access_token;
    const ask = async () =>
      (await fetch(`${replica.url}/v1/grants`, { headers: { Authorization: `Bearer ${own}` } })).status;
    expect(await ask()).toBe(200);
    await asBootstrap(broker).delete(`/v1/trusted-issuers/${trusted_issuer_id}`).expect(204);
    expect(await ask()).toBe(401);
    await expectRefused(token);
    await asGrant(token, {}, replica).expect(400);
    expect(await historyOf(id)).toContain('agent_credential.revoked');
  });

  it('and is registered again has no agents until they get a new identity there', async () => {
    const other = await startPlatform(clock);
    const before = await trust({ issuer: other.issuer });
    const { id, sub } = await createFederated({ trusted_issuer_id: before });
    await asBootstrap(broker).delete(`/v1/trusted-issuers/${before}`).expect(204);
    const after = await trust({ issuer: other.issuer });
    await expectRefused(await other.token(sub));
    const identity = { trusted_issuer_id: after, subject: sub };
    await asBootstrap(broker).patch(`/v1/agents/${id}`, { identity }).expect(200);
    await asGrant(await other.token(sub)).expect(200);
  });
});

describe('a person who could have signed tokens of an agent', () => {
  /** Registers a resource that needs an approval, and requests a grant of it as the workload. Returns the pending request. */
  async function requestAs(token: string): Promise<{ id: string; request_digest: string }> {
    const resource = await createResource(broker);
    await createPolicy(
      broker,
      `forbid(principal, action == Action::"request", resource == Resource::"${resource.identifier}") unless { context.approvals >= 1 };`,
    );
    const own = (await asGrant(token).expect(200)).body.access_token;
    const asked = await fetch(`${broker.url}/v1/grants`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${own}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(grantRequest(resource.identifier)),
    });
    expect(asked.status).toBe(202);
    return (await asked.json()) as { id: string; request_digest: string };
  }

  async function expectCannotApprove(people: TestPerson[], request: { id: string; request_digest: string }) {
    const { id, request_digest } = request;
    for (const { api } of people) {
      const refused = await api.post(`/v1/grants/${id}/approve`, { request_digest }).expect(403);
      expect(refused.body.code).toBe('self-approval');
    }
  }

  const createPeople = (count: number) =>
    Promise.all(Array.from({ length: count }, () => createPerson(broker, { roles: ['admin', 'approver'] })));

  it('cannot approve for it, if they registered its issuer or ever changed it', async () => {
    const people = await createPeople(2);
    const [creator, changer] = people as [TestPerson, TestPerson];
    await createPerson(broker, { roles: ['approver'] });
    const other = await startPlatform(clock);
    const created = await creator.api
      .post('/v1/trusted-issuers', { name: 'platform', issuer: other.issuer })
      .expect(201);
    const { sub } = await createFederated({ trusted_issuer_id: created.body.id });
    for (const { api } of [changer, { api: asBootstrap(broker) }]) {
      await api.patch(`/v1/trusted-issuers/${created.body.id}`, { name: 'renamed' }).expect(200);
    }
    await expectCannotApprove(people, await requestAs(await other.token(sub)));
  });

  it('cannot approve for it, if they registered any of the issuers at which it has an identity', async () => {
    const [first, second, third] = (await createPeople(3)) as [TestPerson, TestPerson, TestPerson];
    const keys = [createKey(), createKey(), createKey()];
    const register = async ({ api }: TestPerson, n: number): Promise<string> => {
      const terms = { name: `CI ${n}`, issuer: `https://ci-${n}.example`, jwks: { keys: [keys[n]?.jwk] } };
      return (await api.post('/v1/trusted-issuers', terms).expect(201)).body.id;
    };
    const used = [await register(first, 0), await register(second, 1)];
    await register(third, 2);
    await asBootstrap(broker)
      .post('/v1/agents', {
        name: 'with two issuers',
        environment: 'production',
        owner: (await createPerson(broker)).id,
        token_endpoint_auth_method: 'federated_jwt',
        identities: used.map((trusted_issuer_id) => ({ trusted_issuer_id, subject: 'job' })),
      })
      .expect(201);
    const key = keys[0] as (typeof keys)[0];
    const token = await signIssuerToken(
      { issuer: 'https://ci-0.example', key, now: () => clock.now() },
      'job',
    );
    const request = await requestAs(token);
    await expectCannotApprove([first, second], request);
    await third.api
      .post(`/v1/grants/${request.id}/approve`, { request_digest: request.request_digest })
      .expect(200);
  });
});
