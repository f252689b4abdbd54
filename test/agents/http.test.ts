import { beforeAll, describe, expect, it } from 'vitest';
import { type Api, asBootstrap, createPerson, startBroker, type TestBroker } from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';

let broker: TestBroker;
let admin: Api;
let owner: string;
beforeAll(async () => {
  broker = await startBroker();
  admin = asBootstrap(broker);
  owner = (await createPerson(broker)).id;
});

const newAgent = (terms: object = {}) => ({
  name: 'report-writer',
  owner,
  environment: 'production',
  token_endpoint_auth_method: 'client_secret_basic',
  ...terms,
});
const create = async (terms: object = {}) => {
  const { body } = await admin.post('/v1/agents', newAgent(terms)).expect(201);
  return { ...body, path: `/v1/agents/${body.id}` };
};
const nowhere = '/v1/agents/agt_01kjdw0a5vf8h8v0m6gq3r9x2c';
const noSecret = 'sec_01kjdw0a5vf8h8v0m6gq3r9x2d';

describe('agents', () => {
  it('are registered with a client secret that only this response contains', async () => {
    const created = await admin.post('/v1/agents', newAgent({ labels: ['team:data'] })).expect(201);
    const { id, client_secret: secret } = created.body;
    expect(created.headers.location).toBe(`/v1/agents/${id}`);
    expect(created.body).toMatchObject({
      client_id: id,
      owner,
      status: 'enabled',
      epoch: 1,
      expires_at: null,
    });
    expect(secret).toMatch(/^hps_[A-Za-z0-9]{43}$/);
    const read = await admin.get(`/v1/agents/${id}`).expect(200);
    expect(read.body).toMatchObject({ id, labels: ['team:data'], secrets: [{ revoked_at: null }] });
    expect(JSON.stringify(read.body)).not.toContain(secret);
    await eventually(async () => {
      const events = await admin.get(`/v1/audit-events?agent_id=${id}`).expect(200);
      expect(events.body.items.length).toBeGreaterThan(0);
      expect(JSON.stringify(events.body)).not.toContain(secret);
    });
  });

  it('are refused for an unknown owner, a past expiry and an unknown field', async () => {
    const stranger = { owner: 'adm_01kjdw0a5vf8h8v0m6gq3r9x2c' };
    const refused = await admin.post('/v1/agents', newAgent(stranger)).expect(400);
    expect(refused.body).toMatchObject({
      code: 'invalid-request',
      detail: 'owner is not the id of a person',
    });
    await admin.post('/v1/agents', newAgent({ expires_at: '2020-01-01T00:00:00Z' })).expect(400);
    await admin.post('/v1/agents', newAgent({ jwks_uri: 'https://keys.example' })).expect(400);
  });

  it('are listed page by page', async () => {
    await create();
    await create();
    const first = await admin.get('/v1/agents?limit=1').expect(200);
    const rest = await admin.get(`/v1/agents?limit=200&cursor=${first.body.next_cursor}`).expect(200);
    const all = await admin.get('/v1/agents?limit=200').expect(200);
    expect([...first.body.items, ...rest.body.items]).toEqual(all.body.items);
    expect(all.body.next_cursor).toBeNull();
    await admin.get(`/v1/resources?cursor=${first.body.next_cursor}`).expect(400);
  });

  it('change, and lose their expiry with null', async () => {
    const { path } = await create({ expires_at: '2026-06-01T00:00:00Z' });
    const change = { token_endpoint_auth_method: 'client_secret_post', labels: [], expires_at: null };
    expect((await admin.patch(path, change).expect(200)).body).toMatchObject({ ...change, owner });
    expect((await admin.patch(path, { name: 'n' }).expect(200)).body).toMatchObject({ ...change, name: 'n' });
    await admin.patch(path, {}).expect(400);
    await admin.patch(path, { expires_at: '2020-01-01T00:00:00Z' }).expect(400);
  });

  it('are disabled and enabled, and each is refused if it changes nothing', async () => {
    const { path } = await create();
    const early = await admin.post(`${path}/enable`).expect(409);
    expect(early.body.code).toBe('conflict');
    const disabled = await admin.post(`${path}/disable`, { reason: 'leaked its secret' }).expect(200);
    expect(disabled.body).toMatchObject({ status: 'disabled', epoch: 2 });
    await admin.post(`${path}/disable`).expect(409);
    const enabled = await admin.post(`${path}/enable`).expect(200);
    expect(enabled.body).toMatchObject({ status: 'enabled', epoch: 2, disabled_at: null });
  });

  it('are not found by any operation after they are deleted, like unknown agents', async () => {
    const { path } = await create();
    await admin.delete(path).expect(204);
    for (const gone of [path, nowhere]) {
      await admin.get(gone).expect(404);
      await admin.patch(gone, { name: 'n' }).expect(404);
      await admin.delete(gone).expect(404);
      await admin.post(`${gone}/disable`).expect(404);
      await admin.post(`${gone}/enable`).expect(404);
      await admin.post(`${gone}/secrets`).expect(404);
      await admin.delete(`${gone}/secrets/${noSecret}`).expect(404);
    }
  });

  it('keep their owner: the person cannot be removed until the agent is', async () => {
    const person = await createPerson(broker);
    const { path } = await create({ owner: person.id });
    await admin.delete(`/v1/admins/${person.id}`).expect(409);
    await admin.delete(path).expect(204);
    await admin.delete(`/v1/admins/${person.id}`).expect(204);
    await admin.post('/v1/agents', newAgent({ owner: person.id })).expect(400);
  });
});

describe('client secrets of agents', () => {
  it('are at most two, shown once, and end when they are revoked, which is idempotent', async () => {
    const { path, client_secret: first } = await create();
    const issued = await admin.post(`${path}/secrets`, { expires_at: '2026-06-01T00:00:00Z' }).expect(201);
    expect(issued.body).toMatchObject({ expires_at: '2026-06-01T00:00:00.000Z' });
    expect(issued.body.client_secret).not.toBe(first);
    const third = await admin.post(`${path}/secrets`).expect(409);
    expect(third.body.code).toBe('too-many-secrets');
    await admin.delete(`${path}/secrets/${issued.body.id}`).expect(204);
    await admin.delete(`${path}/secrets/${issued.body.id}`).expect(204);
    const { body } = await admin.get(path).expect(200);
    const found = body.secrets.find((secret: { id: string }) => secret.id === issued.body.id);
    expect(found.revoked_at).not.toBeNull();
    await admin.post(`${path}/secrets`).expect(201);
  });

  it('are refused with a past expiry, and not found by a wrong id or through another agent', async () => {
    const [one, other] = [await create(), await create()];
    await admin.post(`${one.path}/secrets`, { expires_at: '2020-01-01T00:00:00Z' }).expect(400);
    await admin.delete(`${one.path}/secrets/${noSecret}`).expect(404);
    const { body } = await admin.get(one.path).expect(200);
    await admin.delete(`${other.path}/secrets/${body.secrets[0].id}`).expect(404);
  });
});
