import { beforeAll, describe, expect, it } from 'vitest';
import {
  agentOf,
  asBootstrap,
  createAgent,
  createPerson,
  createResource,
  grantRequest,
  oauthPost,
  startBroker,
  type TestBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createKey, createKeyAgent, keyAgentOf } from '../support/key-agent.ts';

const clock = new FakeClock();
let broker: TestBroker;
let place: { url: string; now: () => Date };
beforeAll(async () => {
  broker = await startBroker({ clock });
  place = { url: broker.url, now: () => clock.now() };
});

const keyTerms = () => ({
  token_endpoint_auth_method: 'private_key_jwt',
  jwks: { keys: [createKey().jwk] },
});
const newAgent = async (terms: object) => ({
  name: 'agent',
  environment: 'development',
  owner: (await createPerson(broker)).id,
  ...terms,
});

describe('an agent with keys', () => {
  it('is registered without a secret, and shows its keys and their age wherever it is read', async () => {
    const { jwks, ...method } = keyTerms();
    const body = await newAgent({ ...method, jwks, legacy_audience: true });
    const created = await asBootstrap(broker).post('/v1/agents', body).expect(201);
    expect(created.body).not.toHaveProperty('client_secret');
    const shown = {
      ...method,
      jwks,
      jwks_uri: null,
      identity: null,
      legacy_audience: true,
      oldest_secret_created_at: null,
    };
    expect(created.body).toMatchObject(shown);
    const read = await asBootstrap(broker).get(`/v1/agents/${created.body.id}`).expect(200);
    expect(read.body).toMatchObject({ ...shown, secrets: [] });
    const listed = await asBootstrap(broker).get('/v1/agents?limit=200').expect(200);
    expect(listed.body.items.find(({ id }: { id: string }) => id === created.body.id)).toMatchObject(shown);
    // Reads the table instead of the API, which does not show the newest events until every older transaction has ended.
    const { rows } = await broker.database.owner.query(
      'select type, details from audit_events where agent_id = $1 order by tx, id',
      [created.body.id],
    );
    expect(rows).toMatchObject([
      { type: 'agent.created' },
      {
        type: 'agent_credential.set',
        details: { thumbprints: [expect.stringMatching(/^[\w-]{43}$/)], revoked: [] },
      },
    ]);
  });

  it.each([
    ['no keys', () => ({ jwks: undefined })],
    ['keys in two places', () => ({ jwks_uri: 'https://agent.example/keys' })],
    ['a private key', () => ({ jwks: { keys: [createKey().privateKey.export({ format: 'jwk' })] } })],
    ['a key that is of no use', () => ({ jwks: { keys: [{ kty: 'RSA', n: 'AQAB', e: 'AQAB' }] } })],
    ['an empty set', () => ({ jwks: { keys: [] } })],
    ['something beside the keys', () => ({ jwks: { keys: [createKey().jwk], more: 1 } })],
    ['a URL that is not https', () => ({ jwks: undefined, jwks_uri: 'http://agent.example/keys' })],
    ['a URL with credentials', () => ({ jwks: undefined, jwks_uri: 'https://a:b@agent.example/keys' })],
    ['a loopback address', () => ({ jwks: undefined, jwks_uri: 'https://127.0.0.1/keys' })],
    ['a loopback address in decimal', () => ({ jwks: undefined, jwks_uri: 'https://2130706433/keys' })],
    ['a link-local address', () => ({ jwks: undefined, jwks_uri: 'https://169.254.169.254/keys' })],
    ['a mapped address', () => ({ jwks: undefined, jwks_uri: 'https://[::ffff:10.0.0.1]/keys' })],
    ['a secret as its method', () => ({ token_endpoint_auth_method: 'client_secret_basic' })],
  ])('is refused with %s', async (_, change) => {
    const body = await newAgent({ ...keyTerms(), ...change() });
    const refused = await asBootstrap(broker).post('/v1/agents', body).expect(400);
    expect(refused.body.code).toBe('invalid-request');
  });

  it('cannot get a secret', async () => {
    const agent = await createKeyAgent(place);
    const path = `/v1/agents/${agent.id}`;
    const issued = await asBootstrap(broker).post(`${path}/secrets`).expect(409);
    expect(issued.body.code).toBe('conflict');
    const change = { token_endpoint_auth_method: 'client_secret_basic' };
    expect((await asBootstrap(broker).patch(path, change).expect(409)).body.code).toBe('conflict');
    expect((await agent.token()).status).toBe(200);
  });

  it('can change from a secret to keys: the secret and the tokens obtained with it end at once', async () => {
    const before = await createAgent(broker);
    const token = (await before.token().expect(200)).body.access_token;
    const key = createKey();
    const path = `/v1/agents/${before.id}`;
    await asBootstrap(broker).patch(path, { token_endpoint_auth_method: 'private_key_jwt' }).expect(400);
    await asBootstrap(broker)
      .patch(path, { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [key.jwk] } })
      .expect(200);
    await before.token().expect(401);
    const after = keyAgentOf(place, { id: before.id, key });
    expect((await after.token()).status).toBe(200);
    const asked = await oauthPost(broker, '/oauth2/introspect', {
      token,
      client_assertion: await after.assert(),
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    }).expect(200);
    expect(asked.body).toEqual({ active: false });
  });

  it('loses its earlier keys, and the tokens obtained with them, when its keys are replaced', async () => {
    const agent = await createKeyAgent(place);
    const api = await agent.api();
    await api.get('/v1/grants').expect(200);
    const key = createKey();
    await asBootstrap(broker)
      .patch(`/v1/agents/${agent.id}`, { jwks: { keys: [key.jwk] } })
      .expect(200);
    await api.get('/v1/grants').expect(401);
    expect((await agent.token()).status).toBe(401);
    expect((await keyAgentOf(place, { id: agent.id, key }).token()).status).toBe(200);
  });

  it('keeps its tokens when a key is added or the order changes, and loses those of a key that is removed', async () => {
    const agent = await createKeyAgent(place);
    const second = createKey();
    const setKeys = (...keys: object[]) =>
      asBootstrap(broker).patch(`/v1/agents/${agent.id}`, { jwks: { keys } }).expect(200);
    const first = await agent.api();
    const events = async () =>
      (
        await broker.database.owner.query(
          "select details from audit_events where agent_id = $1 and type = 'agent_credential.set' order by tx, id",
          [agent.id],
        )
      ).rows;
    const { body } = await setKeys(second.jwk, agent.key.jwk);
    expect(body.jwks.keys).toHaveLength(2);
    await first.get('/v1/grants').expect(200);
    const other = await keyAgentOf(place, { id: agent.id, key: second }).api();
    await setKeys(agent.key.jwk, second.jwk);
    await setKeys(agent.key.jwk, second.jwk);
    for (const api of [first, other]) await api.get('/v1/grants').expect(200);
    expect(await events()).toHaveLength(2);
    await setKeys(second.jwk);
    await first.get('/v1/grants').expect(401);
    await other.get('/v1/grants').expect(200);
    expect((await agent.token()).status).toBe(401);
    expect((await events()).at(-1)?.details).toMatchObject({
      kept: [expect.any(String)],
      revoked: [expect.any(String)],
    });
  });

  it('keeps the keys of a set that an earlier version stored in one row, as long as the whole set stays', async () => {
    const [old, another, added] = [createKey(), createKey(), createKey()];
    const agent = await createKeyAgent(place);
    const path = `/v1/agents/${agent.id}`;
    const jwks = { keys: [old.jwk, another.jwk] };
    await broker.database.owner.query('update agent_secrets set jwks = $2 where client_id = $1', [
      agent.id,
      jwks,
    ]);
    const api = await keyAgentOf(place, { id: agent.id, key: old }).api();
    const patched = await asBootstrap(broker)
      .patch(path, { jwks: { keys: [...jwks.keys, added.jwk] } })
      .expect(200);
    expect(patched.body.jwks.keys).toHaveLength(3);
    await api.get('/v1/grants').expect(200);
    await asBootstrap(broker)
      .patch(path, { jwks: { keys: [old.jwk, added.jwk] } })
      .expect(200);
    await api.get('/v1/grants').expect(401);
    expect((await keyAgentOf(place, { id: agent.id, key: old }).token()).status).toBe(200);
  });

  it('is controlled by the person who added a key, as by a person who issued a secret', async () => {
    const agent = await createKeyAgent(place);
    const person = await createPerson(broker, { roles: ['admin', 'approver'] });
    await createPerson(broker, { roles: ['approver'] });
    const resource = await createResource(broker);
    await person.api
      .patch(`/v1/agents/${agent.id}`, { jwks: { keys: [agent.key.jwk, createKey().jwk] } })
      .expect(200);
    const request = grantRequest(resource.identifier);
    const pending = await (await agent.api()).post('/v1/grants', request).expect(202);
    const refused = await person.api
      .post(`/v1/grants/${pending.body.id}/approve`, { request_digest: pending.body.request_digest })
      .expect(403);
    expect(refused.body.code).toBe('self-approval');
  });

  it('cannot authenticate any more once it is deleted', async () => {
    const agent = await createKeyAgent(place);
    await asBootstrap(broker).delete(`/v1/agents/${agent.id}`).expect(204);
    expect((await agent.token()).status).toBe(401);
  });
});

describe('an agent with a secret', () => {
  it('shows how old its oldest secret is', async () => {
    const agent = await createAgent(broker);
    const path = `/v1/agents/${agent.id}`;
    const issuedAt = clock.now().toISOString();
    clock.advance(60);
    const second = await asBootstrap(broker).post(`${path}/secrets`).expect(201);
    const oldest = async () =>
      (await asBootstrap(broker).get(path).expect(200)).body.oldest_secret_created_at;
    expect(await oldest()).toBe(issuedAt);
    const { body } = await asBootstrap(broker).get(path).expect(200);
    await asBootstrap(broker).delete(`${path}/secrets/${body.secrets[0].id}`).expect(204);
    expect(await oldest()).toBe(clock.now().toISOString());
    await asBootstrap(broker).delete(`${path}/secrets/${second.body.id}`).expect(204);
    expect(await oldest()).toBeNull();
  });

  it('cannot authenticate with its own keys instead', async () => {
    const agent = await createAgent(broker);
    const forged = keyAgentOf(place, { id: agent.id, key: createKey() });
    expect((await forged.token()).status).toBe(401);
    await agentOf(broker, agent).token().expect(200);
  });
});

describe('the database', () => {
  it('does not allow an agent with keys to have a secret, by any statement', async () => {
    const agent = await createKeyAgent(place);
    const { owner } = broker.database;
    const back = owner.query(
      `update agents set token_endpoint_auth_method = 'client_secret_basic' where id = '${agent.id}'`,
    );
    await expect(back).rejects.toMatchObject({ code: '23001' });
    const secret = owner.query(
      `insert into agent_secrets (id, client_id, secret_hash, issued_by, created_at)
       values ('sec_x', '${agent.id}', sha256('x'), 'adm_x', now())`,
    );
    await expect(secret).rejects.toMatchObject({ code: '23001' });
    const second = owner.query(
      `insert into agent_secrets (id, client_id, jwks, issued_by, created_at)
       select 'prf_x', client_id, jwks, 'adm_x', now() from agent_secrets where client_id = '${agent.id}'`,
    );
    await expect(second).rejects.toMatchObject({ constraint: 'agent_secrets_one_key' });
    const insertUrl = (id: string) =>
      owner.query(
        `insert into agent_secrets (id, client_id, jwks_uri, issued_by, created_at)
         values ('${id}', '${agent.id}', 'https://x.example', 'adm_x', now())`,
      );
    await insertUrl('prf_y');
    await expect(insertUrl('prf_z')).rejects.toMatchObject({ constraint: 'agent_secrets_one_url' });
    const both = owner.query(
      `insert into agent_secrets (id, client_id, jwks, jwks_uri, issued_by, created_at)
       values ('jks_x', '${agent.id}', '{}', 'https://x.example', 'adm_x', now())`,
    );
    await expect(both).rejects.toMatchObject({ constraint: 'agent_secrets_one_credential' });
  });
});
