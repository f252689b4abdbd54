import { beforeAll, describe, expect, it } from 'vitest';
import {
  type Api,
  asBootstrap,
  createPerson,
  startBroker,
  type TestBroker,
  testIssuer,
} from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
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
  it('is registered, read, listed, changed and removed, with an audit event for each change', async () => {
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
      "select type, details from audit_events where object_id = $1 and outcome = 'success' order by tx",
      [created.body.id],
    );
    const updated = rows.find(({ type }) => type === 'trusted_issuer.updated');
    expect(updated?.details).toMatchObject({
      keys: 'jwks',
      thumbprints: [expect.any(String)],
      audience: 'us',
    });
    const types = ['trusted_issuer.created', 'trusted_issuer.updated', 'trusted_issuer.deleted'];
    expect(rows.map(({ type }) => type)).toEqual(types);
  });

  it('has its keys replaced by keys of another kind, and by discovery if there are none', async () => {
    const path = `/v1/trusted-issuers/${(await create()).id}`;
    const jwks = { keys: [createKey().jwk] };
    const jwks_uri = 'https://ci.example/keys';
    expect((await admin.patch(path, { jwks }).expect(200)).body).toMatchObject({ jwks, jwks_uri: null });
    expect((await admin.patch(path, { name: 'n' }).expect(200)).body).toMatchObject({ jwks });
    expect((await admin.patch(path, { jwks_uri }).expect(200)).body).toMatchObject({ jwks: null, jwks_uri });
    const none = (await admin.patch(path, { jwks_uri: null }).expect(200)).body;
    expect(none).toMatchObject({ jwks: null, jwks_uri: null });
    const { rows } = await broker.database.owner.query(
      "select details->>'keys' as keys from audit_events where type = 'trusted_issuer.updated' and object_id = $1 order by tx",
      [path.split('/').at(-1)],
    );
    expect(rows.map(({ keys }) => keys)).toEqual(['jwks', 'jwks', 'jwks_uri', 'discovery']);
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

  it('can be registered only once, and again after it was removed', async () => {
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
    ['a backslash', { issuer: 'https:a.example\\x' }],
    ['a space before it', { issuer: ' https://ci.example', jwks: { keys: [createKey().jwk] } }],
    ['more than 512 characters', { issuer: `https://ci.example/${'x'.repeat(512)}` }],
    ['a condition that JSON rounds', { claims: { id: 2 ** 53 } }],
    ['credentials', { issuer: 'https://a:b@ci.example' }],
    ['a SPIFFE ID', { issuer: 'spiffe://example.org/a', jwks: { keys: [createKey().jwk] } }],
    [
      'a SPIFFE trust domain in upper case',
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

  it('is not found by any operation after it is removed, like an unknown one', async () => {
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

  it('must be at a trusted issuer, and can belong to one agent only', async () => {
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

  it('is refused for an issuer that is not trusted, and with invalid conditions', async () => {
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

  it('can be stored with the maximum length, in characters of three bytes', async () => {
    const subject = Array.from({ length: 512 }, (_, n) =>
      String.fromCharCode(0x4e00 + ((n * 37) % 20_000)),
    ).join('');
    const { id: trusted_issuer_id } = await create({ issuer: `https://ci.example/${subject.slice(0, 480)}` });
    await admin.post('/v1/agents', await agent({ trusted_issuer_id, subject })).expect(201);
  });

  it('waits for a transaction that removes the issuer, and is then refused', async () => {
    const { id: trusted_issuer_id } = await create();
    const body = await agent({ trusted_issuer_id, subject: 's' });
    const { owner } = broker.database;
    await owner.query('begin');
    await owner.query('update trusted_issuers set deleted_at = now() where id = $1', [trusted_issuer_id]);
    const asked = admin.post('/v1/agents', body).then(({ status }) => status);
    await eventually(async () => {
      const { rows } = await broker.database.pool.query(
        "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
      );
      expect(rows).toHaveLength(1);
    });
    await owner.query('commit');
    expect(await asked).toBe(400);
  });

  it('resets the settings of another method', async () => {
    const { id: trusted_issuer_id } = await create();
    const keys = { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [createKey().jwk] } };
    const { identity: _, ...terms } = await agent({});
    const made = await admin.post('/v1/agents', { ...terms, ...keys, legacy_audience: true }).expect(201);
    const change = {
      token_endpoint_auth_method: 'federated_jwt',
      identity: { trusted_issuer_id, subject: 'switch' },
    };
    const changed = await admin.patch(`/v1/agents/${made.body.id}`, change).expect(200);
    expect(changed.body).toMatchObject({ legacy_audience: false, jwks: null });
  });

  it('goes to one of twenty agents that request it at once', async () => {
    const { id: trusted_issuer_id } = await create();
    const bodies = await Promise.all(
      Array.from({ length: 20 }, () => agent({ trusted_issuer_id, subject: 'same' })),
    );
    const answers = await Promise.all(bodies.map((body) => admin.post('/v1/agents', body)));
    expect(answers.map(({ status }) => status).sort()).toEqual([201, ...Array(19).fill(409)]);
  });
});
