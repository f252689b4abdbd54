import { beforeAll, describe, expect, it } from 'vitest';
import {
  type Api,
  asBootstrap,
  createPerson,
  startBroker,
  type TestBroker,
  testIssuer,
} from '../support/broker.ts';
import { createKey } from '../support/key-agent.ts';

let broker: TestBroker;
let admin: Api;
let issuers = 0;
beforeAll(async () => {
  broker = await startBroker();
  admin = asBootstrap(broker);
});

const terms = (change: object = {}) => {
  issuers += 1;
  return { name: 'CI', issuer: `https://ci-${issuers}.example`, ...change };
};
const create = async (change: object = {}) =>
  (await admin.post('/v1/trusted-issuers', terms(change)).expect(201)).body;
const nowhere = '/v1/trusted-issuers/tis_01kjdw0a5vf8h8v0m6gq3r9x2c';

describe('a trusted issuer', () => {
  it('is registered, read, listed, changed and removed, each of it recorded', async () => {
    const jwks = { keys: [createKey().jwk] };
    const created = await admin.post('/v1/trusted-issuers', terms({ claims: { owner: 'x' } })).expect(201);
    const path = `/v1/trusted-issuers/${created.body.id}`;
    expect(created.headers.location).toBe(path);
    expect(created.body).toMatchObject({
      audience: testIssuer,
      jwks: null,
      jwks_uri: null,
      claims: { owner: 'x' },
    });
    expect((await admin.get(path).expect(200)).body).toEqual(created.body);
    const changed = await admin.patch(path, { jwks, audience: 'us' }).expect(200);
    expect(changed.body).toMatchObject({ jwks, audience: 'us', claims: { owner: 'x' } });
    const listed = await admin.get('/v1/trusted-issuers?limit=200').expect(200);
    expect(listed.body.items).toContainEqual(changed.body);
    await admin.delete(path).expect(204);
    await admin.get(path).expect(404);
    const { rows } = await broker.database.owner.query(
      "select type from audit_events where object_id = $1 and outcome = 'success' order by tx",
      [created.body.id],
    );
    const types = ['trusted_issuer.created', 'trusted_issuer.updated', 'trusted_issuer.deleted'];
    expect(rows.map(({ type }) => type)).toEqual(types);
  });

  it('takes keys of one kind for those of the other, and none for discovery', async () => {
    const path = `/v1/trusted-issuers/${(await create()).id}`;
    const jwks = { keys: [createKey().jwk] };
    const jwks_uri = 'https://ci.example/keys';
    expect((await admin.patch(path, { jwks }).expect(200)).body).toMatchObject({ jwks, jwks_uri: null });
    expect((await admin.patch(path, { name: 'n' }).expect(200)).body).toMatchObject({ jwks });
    expect((await admin.patch(path, { jwks_uri }).expect(200)).body).toMatchObject({ jwks: null, jwks_uri });
    const none = (await admin.patch(path, { jwks_uri: null }).expect(200)).body;
    expect(none).toMatchObject({ jwks: null, jwks_uri: null });
    await admin.patch(path, { jwks, jwks_uri }).expect(400);
  });

  it('is listed page by page', async () => {
    await create();
    await create();
    const first = await admin.get('/v1/trusted-issuers?limit=1').expect(200);
    const rest = await admin
      .get(`/v1/trusted-issuers?limit=200&cursor=${first.body.next_cursor}`)
      .expect(200);
    const all = await admin.get('/v1/trusted-issuers?limit=200').expect(200);
    expect([...first.body.items, ...rest.body.items]).toEqual(all.body.items);
  });

  it('is trusted once, and again after it was removed', async () => {
    const { id, issuer } = await create();
    const again = await admin.post('/v1/trusted-issuers', terms({ issuer })).expect(409);
    expect(again.body.code).toBe('conflict');
    await admin.delete(`/v1/trusted-issuers/${id}`).expect(204);
    await create({ issuer });
  });

  it('may be a SPIFFE trust domain, with its keys', async () => {
    const jwks = { keys: [{ ...createKey().jwk, use: 'jwt-svid' }] };
    await create({ issuer: 'spiffe://example.org', jwks });
  });

  it.each<[string, object]>([
    ['our own issuer', { issuer: testIssuer }],
    ['http', { issuer: 'http://ci.example' }],
    ['no URL', { issuer: 'kubernetes/serviceaccount' }],
    ['a query', { issuer: 'https://ci.example?x' }],
    ['a fragment', { issuer: 'https://ci.example#' }],
    ['credentials', { issuer: 'https://a:b@ci.example' }],
    ['a SPIFFE ID', { issuer: 'spiffe://example.org/a', jwks: { keys: [createKey().jwk] } }],
    [
      'a SPIFFE trust domain in capitals',
      { issuer: 'spiffe://Example.org', jwks: { keys: [createKey().jwk] } },
    ],
    ['a SPIFFE trust domain without keys', { issuer: 'spiffe://other.org' }],
    ['a loopback address to discover at', { issuer: 'https://127.0.0.1' }],
    ['keys at a loopback address', { jwks_uri: 'https://[::1]/keys' }],
    ['keys in two places', { jwks_uri: 'https://ci.example/keys', jwks: { keys: [createKey().jwk] } }],
    ['a private key', { jwks: { keys: [createKey().privateKey.export({ format: 'jwk' })] } }],
    ['a condition on the audience', { claims: { aud: 'x' } }],
    ['a condition that is an object', { claims: { a: { b: 'c' } } }],
    ['a condition without a value', { claims: { a: [] } }],
    ['a condition that is null', { claims: { a: null } }],
    ['an audience that is a list', { audience: ['x'] }],
    ['a field that is not there', { algorithms: ['RS256'] }],
  ])('is refused with %s', async (_, change) => {
    const refused = await admin.post('/v1/trusted-issuers', terms(change)).expect(400);
    expect(refused.body.code).toBe('invalid-request');
  });

  it('is nowhere for every operation once it is removed, like one that never was', async () => {
    const { id } = await create();
    await admin.delete(`/v1/trusted-issuers/${id}`).expect(204);
    for (const path of [`/v1/trusted-issuers/${id}`, nowhere]) {
      await admin.get(path).expect(404);
      await admin.patch(path, { name: 'n' }).expect(404);
      await admin.delete(path).expect(404);
    }
  });
});

describe('the identity of an agent', () => {
  const agent = async (identity: object) => ({
    name: 'a',
    environment: 'development',
    owner: (await createPerson(broker)).id,
    token_endpoint_auth_method: 'federated_jwt',
    identity,
  });

  it('is of an issuer that is trusted, and one agent’s', async () => {
    const { id: trusted_issuer_id } = await create();
    const identity = { trusted_issuer_id, subject: 'system:serviceaccount:prod:agent' };
    const created = await admin.post('/v1/agents', await agent(identity)).expect(201);
    expect(created.body).toMatchObject({
      identity: { ...identity, claims: {} },
      jwks: null,
      oldest_secret_created_at: null,
    });
    expect((await admin.post('/v1/agents', await agent(identity)).expect(409)).body.code).toBe('conflict');
    await admin.delete(`/v1/agents/${created.body.id}`).expect(204);
    await admin.post('/v1/agents', await agent(identity)).expect(201);
  });

  it('is refused for an issuer that is not trusted, and with conditions that are none', async () => {
    const { id } = await create();
    await admin.delete(`/v1/trusted-issuers/${id}`).expect(204);
    for (const trusted_issuer_id of [id, 'tis_01kjdw0a5vf8h8v0m6gq3r9x2c']) {
      await admin.post('/v1/agents', await agent({ trusted_issuer_id, subject: 's' })).expect(400);
    }
    const { id: trusted_issuer_id } = await create();
    for (const change of [
      { subject: '' },
      { claims: { sub: 'x' } },
      { claims: { a: {} } },
      { pattern: '*' },
    ]) {
      const identity = { trusted_issuer_id, subject: 's', ...change };
      await admin.post('/v1/agents', await agent(identity)).expect(400);
    }
  });

  it('of twenty agents that ask for it at once is one’s', async () => {
    const { id: trusted_issuer_id } = await create();
    const bodies = await Promise.all(
      Array.from({ length: 20 }, () => agent({ trusted_issuer_id, subject: 'same' })),
    );
    const answers = await Promise.all(bodies.map((body) => admin.post('/v1/agents', body)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, ...Array(19).fill(409)]);
  });
});
