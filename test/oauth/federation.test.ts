import { beforeAll, describe, expect, it } from 'vitest';
import { startHttpsServer } from '../outbound/https-server.ts';
import {
  asBootstrap,
  createPerson,
  createPolicy,
  createResource,
  grantRequest,
  oauthPost,
  startBroker,
  type TestBroker,
} from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { assertionType, createKey, createKeyAgent } from '../support/key-agent.ts';
import { createTestOutbound, type Platform, startPlatform } from '../support/test-issuer.ts';
import { eventsOf, expectRefusal } from './fixtures.ts';

const clock = new FakeClock();
const bearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
let broker: TestBroker;
let replica: TestBroker;
let platform: Platform;
let trusted: string;
let subjects = 0;

beforeAll(async () => {
  broker = await startBroker({ clock, overrides: { outbound: createTestOutbound() } });
  replica = await startBroker({
    clock,
    database: broker.database,
    overrides: { outbound: createTestOutbound() },
  });
  platform = await startPlatform(clock);
  trusted = await trust({ issuer: platform.issuer });
});

async function trust(terms: object): Promise<string> {
  const created = await asBootstrap(broker)
    .post('/v1/trusted-issuers', { name: 'platform', ...terms })
    .expect(201);
  return created.body.id;
}

/** An agent that is a new subject of the platform. */
async function createFederated(identity: object = {}): Promise<{ id: string; sub: string }> {
  subjects += 1;
  const sub = `repo:octo-org/repo-${subjects}:ref:refs/heads/main`;
  const created = await asBootstrap(broker)
    .post('/v1/agents', {
      name: 'federated',
      environment: 'production',
      owner: (await createPerson(broker)).id,
      token_endpoint_auth_method: 'federated_jwt',
      identity: { trusted_issuer_id: trusted, subject: sub, ...identity },
    })
    .expect(201);
  return { id: created.body.id, sub: created.body.identity.subject };
}

const asClient = (token: string, more: Record<string, string> = {}, on: { url: string } = broker) =>
  oauthPost(on, '/oauth2/token', {
    grant_type: 'client_credentials',
    client_assertion: token,
    client_assertion_type: assertionType,
    ...more,
  });
const asGrant = (assertion: string, more: Record<string, string> = {}, on: { url: string } = broker) =>
  oauthPost(on, '/oauth2/token', { grant_type: bearer, assertion, ...more });
const refusedClient = { status: 401, error: 'invalid_client' };
const refusedGrant = { status: 400, error: 'invalid_grant' };

/** The token is refused as either, and alike whatever is wrong. */
async function expectRefused(token: string, more: Record<string, string> = {}): Promise<void> {
  await expectRefusal(broker, asClient(token, more), refusedClient);
  const granted = await expectRefusal(broker, asGrant(token, more), refusedGrant);
  expect(granted.body.error_description).toBe('the assertion is not good');
}

describe('the token of a trusted platform', () => {
  it('gets its agent a token, as client assertion and as grant, as often as the platform hands it out', async () => {
    const { id, sub } = await createFederated();
    const token = await platform.token(sub);
    for (const on of [broker, replica]) {
      for (const more of [{}, { client_id: id }]) {
        expect((await asClient(token, more, on).expect(200)).body.scope).toBe('hallpass');
        expect((await asGrant(token, more, on).expect(200)).body.scope).toBe('hallpass');
      }
    }
    const [event] = (await eventsOf(broker.database, 'token.issued')).filter(
      ({ actor_id }) => actor_id === id,
    );
    expect(event?.details).toMatchObject({ auth_method: 'federated_jwt' });
  });

  it('is what the agent mints with, and policy sees it', async () => {
    const cedar =
      'permit(principal, action == Action::"request", resource) when { context.auth_method == "federated_jwt" };';
    await createPolicy(broker, cedar);
    const { sub } = await createFederated();
    const token = await platform.token(sub);
    const resource = await createResource(broker);
    const own = (await asGrant(token).expect(200)).body.access_token;
    const granted = await fetch(`${broker.url}/v1/grants`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${own}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(grantRequest(resource.identifier)),
    });
    expect(granted.status).toBe(201);
    const more = { resource: resource.identifier, scope: 'read' };
    const { access_token } = (await asGrant(token, more).expect(200)).body;
    const asked = { token: access_token, client_assertion: token, client_assertion_type: assertionType };
    expect((await oauthPost(broker, '/oauth2/introspect', asked).expect(200)).body.active).toBe(true);
  });

  it.each<[string, (sub: string) => Parameters<Platform['token']>]>([
    ['another subject', (sub) => [`${sub}x`]],
    ['a subject in capitals', (sub) => [sub.toUpperCase()]],
    ['a part of the subject', (sub) => [sub.slice(0, -1)]],
    ['another audience', (sub) => [sub, { claims: { aud: 'https://other.test' } }]],
    ['an audience beside ours', (sub) => [sub, { claims: { aud: ['https://hallpass.test', 'x'] } }]],
    ['another issuer', (sub) => [sub, { claims: { iss: 'https://evil.test' } }]],
    ['its issuer with a slash', (sub) => [sub, { claims: { iss: `${platform.issuer}/` } }]],
    ['no end', (sub) => [sub, { claims: { exp: undefined } }]],
    ['an end that is past', (sub) => [sub, { claims: { exp: 1 } }]],
    ['the key of somebody else', (sub) => [sub, { key: createKey({ kid: platform.key.kid }) }]],
    ['a key that it brings along', (sub) => [sub, { key: createKey(), header: { jwk: createKey().jwk } }]],
    ['the type of an access token', (sub) => [sub, { header: { typ: 'at+jwt' } }]],
  ])('is refused with %s', async (_, terms) => {
    const { sub } = await createFederated();
    await expectRefused(await platform.token(...terms(sub)));
    await asGrant(await platform.token(sub)).expect(200);
  });

  it('is refused beside the client_id of another, or another proof', async () => {
    const [{ sub }, other] = [await createFederated(), await createFederated()];
    const token = await platform.token(sub);
    await expectRefused(token, { client_id: other.id });
    const malformed = { status: 400, error: 'invalid_request' };
    await expectRefusal(broker, asGrant(token, { client_secret: 'x' }), malformed);
    await expectRefusal(broker, asGrant(token, { client_assertion: 'x' }), malformed);
    const none = oauthPost(broker, '/oauth2/token', { grant_type: bearer });
    await expectRefusal(broker, none, malformed);
  });

  it('has to meet what its issuer and its agent are registered with, exactly', async () => {
    const claims = { environment: 'production', '/nested/id': 7 };
    const { sub } = await createFederated({ claims });
    const good = { environment: 'production', nested: { id: 7 } };
    await asGrant(await platform.token(sub, { claims: good })).expect(200);
    for (const bad of [{}, { ...good, environment: 'production2' }, { ...good, nested: { id: '7' } }]) {
      await expectRefused(await platform.token(sub, { claims: bad }));
    }
    await asBootstrap(broker)
      .patch(`/v1/trusted-issuers/${trusted}`, { claims: { owner: 'octo-org' } })
      .expect(200);
    clock.advance(1);
    await expectRefused(await platform.token(sub, { claims: good }));
    await asGrant(await platform.token(sub, { claims: { ...good, owner: 'octo-org' } })).expect(200);
    await asBootstrap(broker).patch(`/v1/trusted-issuers/${trusted}`, { claims: {} }).expect(200);
    clock.advance(1);
  });

  it('does nothing for an agent that is disabled, and is nobody else', async () => {
    const { id, sub } = await createFederated();
    const token = await platform.token(sub);
    await asGrant(token).expect(200);
    await asBootstrap(broker).post(`/v1/agents/${id}/disable`).expect(200);
    await expectRefused(token);
    await asBootstrap(broker).delete(`/v1/agents/${id}`).expect(204);
    await expectRefused(token);
  });
});

describe('an assertion of an agent with keys', () => {
  it('is a grant, too, and is used once, whichever it is', async () => {
    const agent = await createKeyAgent({ url: broker.url, now: () => clock.now() });
    const assertion = await agent.assert();
    await asGrant(assertion).expect(200);
    await expectRefusal(broker, asGrant(assertion), refusedGrant);
    await expectRefusal(broker, asClient(assertion), refusedClient);
  });
});

describe('the keys of a platform', () => {
  it('are found by discovery, once, and again for a new one, but not oftener than each 30 s', async () => {
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

  it('may be given instead, and are not looked for then', async () => {
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
    const { body } = await asBootstrap(broker).get(`/v1/audit-events?agent_id=${id}`).expect(200);
    expect(body.items.map(({ type }: { type: string }) => type)).toContain('agent_proof.renewed');
  });

  it('in its name alone ends nothing', async () => {
    const other = await startPlatform(clock);
    const trusted_issuer_id = await trust({ issuer: other.issuer });
    const { sub } = await createFederated({ trusted_issuer_id });
    const own = await ownOf(await other.token(sub));
    await asBootstrap(broker)
      .patch(`/v1/trusted-issuers/${trusted_issuer_id}`, { name: 'other', claims: {} })
      .expect(200);
    expect(await ask(own)).toBe(200);
  });

  it('while its keys are being read has nothing issued by what was looked at before', async () => {
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

  it('and cannot be reached is held against nobody: its agents are not counted as guessing', async () => {
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
  it('ends what its agents got through it, at once', async () => {
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
    const { body } = await asBootstrap(broker).get(`/v1/audit-events?agent_id=${id}`).expect(200);
    expect(body.items.map(({ type }: { type: string }) => type)).toContain('agent_proof.revoked');
  });

  it('and is trusted anew has no agents until they are given it again', async () => {
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

describe('who could sign for an agent', () => {
  it('cannot approve for it: who trusted its issuer, and who ever changed that', async () => {
    const people = await Promise.all(
      [0, 1].map(() => createPerson(broker, { roles: ['admin', 'approver'] })),
    );
    const [creator, changer] = people as [(typeof people)[0], (typeof people)[0]];
    await createPerson(broker, { roles: ['approver'] });
    const other = await startPlatform(clock);
    const created = await creator.api
      .post('/v1/trusted-issuers', { name: 'platform', issuer: other.issuer })
      .expect(201);
    const { sub } = await createFederated({ trusted_issuer_id: created.body.id });
    for (const { api } of [changer, { api: asBootstrap(broker) }]) {
      await api.patch(`/v1/trusted-issuers/${created.body.id}`, { name: 'renamed' }).expect(200);
    }
    const resource = await createResource(broker);
    await createPolicy(
      broker,
      `forbid(principal, action == Action::"request", resource == Resource::"${resource.identifier}") unless { context.approvals >= 1 };`,
    );
    const own = (await asGrant(await other.token(sub)).expect(200)).body.access_token;
    const asked = await fetch(`${broker.url}/v1/grants`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${own}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(grantRequest(resource.identifier)),
    });
    const { id, request_digest } = (await asked.json()) as { id: string; request_digest: string };
    expect(asked.status).toBe(202);
    for (const person of people) {
      const refused = await person.api.post(`/v1/grants/${id}/approve`, { request_digest }).expect(403);
      expect(refused.body.code).toBe('self-approval');
    }
  });
});
