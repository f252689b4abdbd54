import { decodeJwt, decodeProtectedHeader } from 'jose';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createServerOf, forge, grantTo, introspect, permitAll, tokenOf } from '../oauth/fixtures.ts';
import {
  type Api,
  agentOf,
  apiOf,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  oauthPost,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
const inSeconds = (seconds: number): string => new Date(clock.now().getTime() + seconds * 1000).toISOString();
let replicas: [TestBroker, TestBroker];
let admin: Api;

beforeAll(async () => {
  const first = await startBroker({ clock });
  replicas = [first, await startBroker({ clock, database: first.database })];
  admin = asBootstrap(first);
  await createPolicy(first, permitAll);
});

/** An agent with a grant that both replicas have in memory, because each has just minted a token under it. */
interface Scene {
  agent: TestAgent;
  /** The same agent, as a client of each replica. */
  clients: TestAgent[];
  resource: { id: string; identifier: string };
  server: { id: string; secret: string };
  grantId: string;
  tokens: string[];
  brokerTokens: string[];
}

async function arrange(): Promise<Scene> {
  const agent = await createAgent(replicas[0]);
  const resource = await createResource(replicas[0]);
  const server = await createServerOf(replicas[0], resource);
  const grantId = await grantTo(agent, resource, { duration_seconds: 1200 });
  const clients = replicas.map((replica) => agentOf(replica, agent));
  const form = { resource: resource.identifier, scope: 'read' };
  const scene = { agent, clients, resource, server, grantId, tokens: [], brokerTokens: [] } as Scene;
  for (const client of clients) {
    scene.tokens.push(await tokenOf(client, form));
    scene.brokerTokens.push(await tokenOf(client));
  }
  return scene;
}

/** Returns every distinct response of both replicas to introspections of `tokens`. */
async function introspected(tokens: string[], client: { id: string; secret: string }): Promise<unknown[]> {
  const answers = new Set<string>();
  for (const replica of replicas) {
    for (const token of tokens) answers.add(JSON.stringify(await introspect(replica, token, client)));
  }
  return [...answers].map((text) => JSON.parse(text));
}

/** Returns every distinct response of both replicas to token requests with `form`. */
async function answersTo({ clients }: Scene, form: Record<string, string>): Promise<string[]> {
  const answers = new Set<string>();
  for (const client of clients) {
    const { status, body } = await client.token(form);
    answers.add(`${status} ${body.error ?? 'token'}`);
  }
  return [...answers];
}

/** Returns every distinct status with which both replicas answer both broker tokens. */
async function statusesOf({ brokerTokens }: Scene): Promise<number[]> {
  const statuses = new Set<number>();
  for (const replica of replicas) {
    for (const token of brokerTokens) statuses.add((await apiOf(replica, token).get('/v1/grants')).status);
  }
  return [...statuses];
}

const inactive = [{ active: false }];
const accessForm = ({ resource }: Scene) => ({ resource: resource.identifier, scope: 'read' });
const pinnedForm = ({ resource, grantId }: Scene) => ({ resource: resource.identifier, grant_id: grantId });

async function expectActive(scene: Scene): Promise<void> {
  const { tokens, server } = scene;
  const answers = await introspected(tokens, server);
  expect(answers).toHaveLength(2);
  for (const answer of answers) expect(answer).toMatchObject({ active: true, sub: scene.agent.id });
  expect(await answersTo(scene, accessForm(scene))).toEqual(['200 token']);
  expect(await statusesOf(scene)).toEqual([200]);
}

describe('the tokens of a grant end at once on every replica, and no more are issued, when', () => {
  const revoke = ({ grantId }: Scene) =>
    admin.post(`/v1/grants/${grantId}/revoke`, { reason: 'x' }).expect(200);
  const causes: [string, (scene: Scene) => Promise<unknown>][] = [
    ['it is revoked', revoke],
    [
      'it is returned',
      async ({ agent, grantId }) => (await agent.api()).post(`/v1/grants/${grantId}/return`).expect(200),
    ],
    [
      'the risk of one of its scopes is raised',
      ({ resource }) => {
        const scopes = [{ name: 'read', description: 'Read everything', risk: 'medium' }];
        return admin.patch(`/v1/resources/${resource.id}`, { scopes }).expect(200);
      },
    ],
  ];

  it.each(causes)('%s', async (_, end) => {
    const scene = await arrange();
    await expectActive(scene);
    await end(scene);
    expect(await introspected(scene.tokens, scene.server)).toEqual(inactive);
    expect(await introspected(scene.tokens, scene.agent)).toEqual(inactive);
    expect(await answersTo(scene, accessForm(scene))).toEqual(['400 invalid_target']);
    expect(await answersTo(scene, pinnedForm(scene))).toEqual(['400 invalid_grant']);
    expect(await statusesOf(scene)).toEqual([200]);
  });

  it('its time is over, before that is written', async () => {
    const scene = await arrange();
    clock.advance(1000);
    scene.tokens = [await tokenOf(scene.clients[0] ?? scene.agent, accessForm(scene))];
    clock.advance(199);
    expect(await introspected(scene.tokens, scene.server)).toMatchObject([{ active: true }]);
    clock.advance(1);
    expect(await introspected(scene.tokens, scene.server)).toEqual(inactive);
    expect(await answersTo(scene, accessForm(scene))).toEqual(['400 invalid_target']);
    expect(await answersTo(scene, pinnedForm(scene))).toEqual(['400 invalid_grant']);
  });

  it('its resource is deleted, whose resource server can then not authenticate', async () => {
    const scene = await arrange();
    await expectActive(scene);
    await admin.delete(`/v1/resources/${scene.resource.id}`).expect(204);
    expect(await introspected(scene.tokens, scene.agent)).toEqual(inactive);
    expect(await answersTo(scene, accessForm(scene))).toEqual(['400 invalid_target']);
    expect(await answersTo(scene, pinnedForm(scene))).toEqual(['400 invalid_grant']);
    for (const replica of replicas) {
      const [token = ''] = scene.tokens;
      const { body } = await oauthPost(replica, '/oauth2/introspect', { token }, scene.server).expect(401);
      expect(body.error).toBe('invalid_client');
    }
  });
});

describe('everything of an agent ends at once on every replica, permanently, when', () => {
  async function expectDead(scene: Scene): Promise<void> {
    expect(await introspected(scene.tokens, scene.server)).toEqual(inactive);
    expect(await answersTo(scene, accessForm(scene))).toEqual(['401 invalid_client']);
    expect(await answersTo(scene, {})).toEqual(['401 invalid_client']);
    expect(await statusesOf(scene)).toEqual([401]);
    for (const replica of replicas) {
      const [token = ''] = scene.tokens;
      await oauthPost(replica, '/oauth2/introspect', { token }, scene.agent).expect(401);
      await oauthPost(replica, '/oauth2/revoke', { token }, scene.agent).expect(401);
    }
  }

  /** Asserts that the agent can authenticate again, and that nothing else is active again. */
  async function expectNothingActive(scene: Scene): Promise<void> {
    const brokerTokens = await Promise.all(scene.clients.map((client) => tokenOf(client)));
    expect(await statusesOf({ ...scene, brokerTokens })).toEqual([200]);
    expect(await introspected(scene.tokens, scene.server)).toEqual(inactive);
    expect(await introspected([...scene.tokens, ...scene.brokerTokens], scene.agent)).toEqual(inactive);
    expect(await statusesOf(scene)).toEqual([401]);
    expect(await answersTo(scene, accessForm(scene))).toEqual(['400 invalid_target']);
    expect(await answersTo(scene, pinnedForm(scene))).toEqual(['400 invalid_grant']);
  }

  it('it is disabled, and enabling it makes nothing active again', async () => {
    const scene = await arrange();
    const path = `/v1/agents/${scene.agent.id}`;
    await admin.post(`${path}/disable`).expect(200);
    await expectDead(scene);
    await admin.post(`${path}/enable`).expect(200);
    await expectNothingActive(scene);
  });

  it('it is deleted', async () => {
    const scene = await arrange();
    await admin.delete(`/v1/agents/${scene.agent.id}`).expect(204);
    await expectDead(scene);
  });

  it('its expiry is moved to an earlier time, and moving it back afterwards makes nothing active again', async () => {
    const scene = await arrange();
    const path = `/v1/agents/${scene.agent.id}`;
    await admin.patch(path, { expires_at: inSeconds(10) }).expect(200);
    clock.advance(9);
    await expectActive(scene);
    clock.advance(1);
    await expectDead(scene);
    await admin.patch(path, { expires_at: null }).expect(200);
    await expectNothingActive(scene);
  });
});

describe('a client secret that is revoked', () => {
  it('gets no token on any replica from then on, and the tokens that were obtained with it are inactive', async () => {
    const scene = await arrange();
    const { agent } = scene;
    expect(await introspected(scene.tokens, agent)).toHaveLength(2);
    const path = `/v1/agents/${agent.id}/secrets`;
    const next = (await admin.post(path).expect(201)).body;
    const { secrets } = (await admin.get(`/v1/agents/${agent.id}`).expect(200)).body;
    const old = secrets.find(({ id }: { id: string }) => id !== next.id);
    await admin.delete(`${path}/${old.id}`).expect(204);
    for (const replica of replicas) {
      const [token = ''] = scene.tokens;
      await oauthPost(replica, '/oauth2/introspect', { token }, agent).expect(401);
      await oauthPost(replica, '/oauth2/revoke', { token }, agent).expect(401);
    }
    expect(await answersTo(scene, {})).toEqual(['401 invalid_client']);
    expect(await answersTo(scene, accessForm(scene))).toEqual(['401 invalid_client']);
    const renewed = { id: agent.id, secret: next.client_secret };
    expect(await introspected(scene.tokens, renewed)).toEqual(inactive);
    expect(await statusesOf(scene)).toEqual([401]);
    for (const replica of replicas) await agentOf(replica, renewed).token(accessForm(scene)).expect(200);
  });
});

describe('a signing key that is compromised', () => {
  // Advances the clock, so that the next key has been published long enough to take over.
  beforeEach(() => clock.advance(400));

  it('ends its tokens at once on every replica, and the next tokens have another key', async () => {
    const scene = await arrange();
    const [token = ''] = scene.tokens;
    const { kid } = decodeProtectedHeader(token);
    await admin.post('/v1/keys/rotate', { key_id: kid, compromised: true, reason: 'leaked' }).expect(200);
    expect(await introspected(scene.tokens, scene.server)).toEqual(inactive);
    expect(await statusesOf(scene)).toEqual([401]);
    for (const client of scene.clients) {
      const fresh = await tokenOf(client, accessForm(scene));
      expect(decodeProtectedHeader(fresh).kid).not.toBe(kid);
      expect(await introspected([fresh], scene.server)).toMatchObject([{ active: true }]);
    }
  });

  it('no longer verifies any token, even one that names another key', async () => {
    const scene = await arrange();
    const [first, second] = replicas;
    const [leaked = ''] = scene.tokens;
    const { kid } = decodeProtectedHeader(leaked);
    await admin.post('/v1/keys/rotate', { key_id: kid, compromised: true, reason: 'leaked' }).expect(200);
    const good = decodeJwt(await tokenOf(agentOf(first, scene.agent), accessForm(scene)));
    const forged = await forge(first.database, leaked, { ...good, scope: 'admin' });
    expect(await introspect(second, forged, scene.server)).toEqual({ active: false });
  });

  it('stops every replica if its successor is compromised, too, until another key may sign', async () => {
    const scene = await arrange();
    let status = 200;
    for (let leaks = 0; status === 200 && leaks < 3; leaks += 1) {
      const { kid } = decodeProtectedHeader(await tokenOf(scene.agent));
      const leaked = { key_id: kid, compromised: true, reason: 'leaked' };
      ({ status } = await admin.post('/v1/keys/rotate', leaked));
    }
    expect(status).toBe(503);
    const refused = await scene.clients[1]?.token().expect(503);
    expect(refused?.body.error).toBe('temporarily_unavailable');
    expect(Number(refused?.headers['retry-after'])).toBeGreaterThan(0);
    expect(await answersTo(scene, {})).toEqual(['503 temporarily_unavailable']);
    clock.advance(360);
    await admin.post('/v1/keys/rotate', { reason: 'after the leak' }).expect(200);
    expect(await answersTo(scene, {})).toEqual(['200 token']);
    expect(await answersTo(scene, accessForm(scene))).toEqual(['200 token']);
  });
});

describe('a policy that is tightened on one replica', () => {
  it.each([
    ['forbids', 'true'],
    ['fails', 'context.duration_seconds * 9223372036854775807 > 0'],
  ])('takes effect on the next use on every replica: one that %s', async (_, when) => {
    const scene = await arrange();
    const of = `resource == Resource::"${scene.resource.identifier}"`;
    const id = await createPolicy(
      replicas[0],
      `forbid(principal, action == Action::"request", ${of}) when { ${when} };`,
    );
    expect((await scene.clients[1]?.token(accessForm(scene)).expect(400))?.body.error).toBe('invalid_grant');
    expect(await answersTo(scene, accessForm(scene))).toEqual(['400 invalid_grant']);
    await admin.delete(`/v1/policies/${id}`).expect(204);
    expect(await answersTo(scene, accessForm(scene))).toEqual(['200 token']);
  });
});
