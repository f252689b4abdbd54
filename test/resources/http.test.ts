import { beforeAll, describe, expect, it } from 'vitest';
import { type Api, asBootstrap, startBroker, type TestBroker, testIssuer } from '../support/broker.ts';

let broker: TestBroker;
let admin: Api;
beforeAll(async () => {
  broker = await startBroker();
  admin = asBootstrap(broker);
});

let made = 0;
const newResource = (terms: object = {}) => {
  made += 1;
  return {
    identifier: `https://api-${made}.example/v1`,
    name: 'Inference API',
    kind: 'api',
    scopes: [{ name: 'chat', description: 'Run chat completions', risk: 'low' }],
    max_grant_seconds: 3600,
    ...terms,
  };
};
const create = async (terms: object = {}) => {
  const { body } = await admin.post('/v1/resources', newResource(terms)).expect(201);
  return { ...body, path: `/v1/resources/${body.id}` };
};
const nowhere = '/v1/resources/res_01kjdw0a5vf8h8v0m6gq3r9x2c';
const noSecret = 'sec_01kjdw0a5vf8h8v0m6gq3r9x2d';

describe('resources', () => {
  it('are registered with defaults, read and listed', async () => {
    const terms = newResource();
    const created = await admin.post('/v1/resources', terms).expect(201);
    const path = `/v1/resources/${created.body.id}`;
    expect(created.headers.location).toBe(path);
    const defaults = { labels: [], token_ttl_seconds: 300, token_alg: 'ES256', epoch: 1 };
    expect(created.body).toMatchObject({ ...terms, ...defaults });
    expect(created.body).toMatchObject({ slug: null, gateway_url: null, upstream: null });
    expect((await admin.get(path).expect(200)).body).toEqual({
      ...created.body,
      secrets: [],
      upstream_credentials: [],
    });
    await create();
    const first = await admin.get('/v1/resources?limit=1').expect(200);
    const rest = await admin.get(`/v1/resources?limit=200&cursor=${first.body.next_cursor}`).expect(200);
    const all = await admin.get('/v1/resources?limit=200').expect(200);
    expect([...first.body.items, ...rest.body.items]).toEqual(all.body.items);
    expect(all.body.items).toContainEqual(created.body);
  });

  it.each([
    ['a fragment', { identifier: 'https://a.example/#x' }, 'identifier must not have a fragment'],
    ['the issuer', { identifier: testIssuer }, 'identifier must not be the issuer or under it'],
    ['an invalid name', { identifier: 'not a uri' }, 'identifier must not have whitespace'],
  ])('are refused for %s as identifier', async (_what, terms, detail) => {
    const refused = await admin.post('/v1/resources', newResource(terms)).expect(400);
    expect(refused.body).toMatchObject({ code: 'invalid-request', detail });
  });

  it('are refused if a scope is given twice', async () => {
    const [chat] = newResource().scopes;
    const refused = await admin.post('/v1/resources', newResource({ scopes: [chat, chat] })).expect(400);
    expect(refused.body.detail).toBe('scope chat is given twice');
    const { path } = await create();
    await admin.patch(path, { scopes: [chat, chat] }).expect(400);
  });

  it('keep their identifier permanently, with and without a trailing slash', async () => {
    const { identifier, path } = await create();
    await admin.delete(path).expect(204);
    for (const taken of [identifier, `${identifier}/`]) {
      const refused = await admin.post('/v1/resources', newResource({ identifier: taken })).expect(409);
      expect(refused.body.code).toBe('identifier-taken');
    }
  });

  it('can be changed in all but identifier and kind', async () => {
    const { path, identifier } = await create();
    const scopes = [{ name: 'embed', description: 'Compute embeddings', risk: 'high' }];
    const change = { name: 'n', labels: ['a'], scopes, max_grant_seconds: 60, token_ttl_seconds: 60 };
    const changed = await admin.patch(path, change).expect(200);
    expect(changed.body).toMatchObject({ ...change, identifier });
    await admin.patch(path, { identifier: 'https://other.example' }).expect(400);
    await admin.patch(path, { kind: 'api' }).expect(400);
  });

  it('can only use an algorithm that has an active key', async () => {
    const { path } = await create();
    for (const status of [200, 503]) {
      const keys: { id: string; alg: string; status: string }[] = (await admin.get('/v1/keys')).body.items;
      const active = keys.find((key) => key.alg === 'EdDSA' && key.status === 'active');
      const leak = { key_id: active?.id, compromised: true, reason: 'leaked' };
      await admin.post('/v1/keys/rotate', leak).expect(status);
    }
    const detail = 'no key can sign with EdDSA now';
    for (const refused of [
      await admin.patch(path, { token_alg: 'EdDSA' }).expect(409),
      await admin.post('/v1/resources', newResource({ token_alg: 'EdDSA' })).expect(409),
    ]) {
      expect(refused.body).toMatchObject({ code: 'conflict', detail });
    }
    await admin.patch(path, { token_alg: 'RS256' }).expect(200);
  });

  it('are not found by any operation after they are deleted, like unknown resources', async () => {
    const { path } = await create();
    await admin.delete(path).expect(204);
    for (const gone of [path, nowhere]) {
      await admin.get(gone).expect(404);
      await admin.get(`${gone}/protected-resource-metadata`).expect(404);
      await admin.patch(gone, { name: 'n' }).expect(404);
      await admin.delete(gone).expect(404);
      await admin.post(`${gone}/secrets`).expect(404);
      await admin.delete(`${gone}/secrets/${noSecret}`).expect(404);
    }
  });
});

describe('secrets of resource servers', () => {
  it('are at most two, are shown once, and are invalid after they are revoked, which may be repeated', async () => {
    const { path } = await create();
    const issued = await admin.post(`${path}/secrets`).expect(201);
    expect(issued.body.client_secret).toMatch(/^hpr_[A-Za-z0-9]{43}$/);
    await admin.post(`${path}/secrets`, { expires_at: '2026-06-01T00:00:00Z' }).expect(201);
    const third = await admin.post(`${path}/secrets`).expect(409);
    expect(third.body.code).toBe('too-many-secrets');
    await admin.delete(`${path}/secrets/${issued.body.id}`).expect(204);
    await admin.delete(`${path}/secrets/${issued.body.id}`).expect(204);
    const read = await admin.get(path).expect(200);
    expect(read.body.secrets).toHaveLength(2);
    expect(JSON.stringify(read.body)).not.toContain(issued.body.client_secret);
    await admin.post(`${path}/secrets`, { expires_at: '2020-01-01T00:00:00Z' }).expect(400);
    await admin.delete(`${path}/secrets/${noSecret}`).expect(404);
  });
});
