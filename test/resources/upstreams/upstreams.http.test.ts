import { beforeAll, describe, expect, it } from 'vitest';
import {
  type Api,
  apiOf,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  createUpstream,
  grantRequest,
  startBroker,
  type TestBroker,
  upstreamTerms,
} from '../../support/broker.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { testGatewayUrl } from '../../support/test-config.ts';
import { testCertificate } from './certificate.ts';

const clock = new FakeClock();
let broker: TestBroker;
let admin: Api;

beforeAll(async () => {
  broker = await startBroker({ clock });
  admin = asBootstrap(broker);
});

let made = 0;
const newUpstream = (change: Record<string, unknown> = {}, upstream: Record<string, unknown> = {}) => {
  made += 1;
  return {
    identifier: `https://upstream-${made}.example/v1`,
    name: 'GitHub',
    max_grant_seconds: 3600,
    ...upstreamTerms(`upstream-${made}`, upstream),
    ...change,
  };
};
const pathOf = ({ id }: { id: string }) => `/v1/resources/${id}`;
const credentialsOf = async (resource: { id: string }) =>
  (await admin.get(pathOf(resource)).expect(200)).body.upstream_credentials;
const add = (resource: { id: string }, body: object = { secret: 'next-key' }) =>
  admin.post(`${pathOf(resource)}/upstream-credentials`, body);
const remove = (resource: { id: string }, id: string) =>
  admin.delete(`${pathOf(resource)}/upstream-credentials/${id}`);
const eventsAbout = async (id: string) =>
  (await admin.get('/v1/audit-events?limit=200').expect(200)).body.items.filter(
    (event: { object_id: string; details: { resource_id?: string } }) =>
      event.object_id === id || event.details.resource_id === id,
  );
const shape = { id: expect.stringMatching(/^upc_/), created_by: expect.stringMatching(/^adm_/) };

describe('an API behind the gateway', () => {
  it('is registered, and shown with its URL at the gateway and without its secret', async () => {
    const body = newUpstream({}, { base_url: 'https://api.vendor.example/v1/' });
    const created = await admin.post('/v1/resources', body).expect(201);
    const upstream = {
      base_url: 'https://api.vendor.example/v1',
      protocol: 'plain',
      credential: { type: 'bearer' },
      tls: {},
      timeouts: { connect_seconds: 5, response_seconds: 60, idle_seconds: 60 },
    };
    const shown = { kind: 'http', slug: body.slug, gateway_url: `${testGatewayUrl}/${body.slug}`, upstream };
    expect(created.body).toMatchObject({ ...shown, scopes: body.scopes, connection: null, preflight: null });
    expect(created.body.upstream).toEqual(upstream);
    const read = await admin.get(pathOf(created.body)).expect(200);
    const at = clock.now().toISOString();
    expect(read.body).toEqual({
      ...created.body,
      secrets: [],
      upstream_credentials: [{ ...shape, created_at: at, activates_at: at }],
    });
    const listed = await admin.get('/v1/resources?limit=200').expect(200);
    expect(listed.body.items).toContainEqual(created.body);
  });

  it.each([
    [
      { type: 'header', name: 'x-api-key', secret: 'key' },
      { type: 'header', name: 'x-api-key' },
    ],
    [
      { type: 'basic', username: 'hallpass', secret: 'key' },
      { type: 'basic', username: 'hallpass' },
    ],
    [
      { type: 'basic', username: '', secret: 'key' },
      { type: 'basic', username: '' },
    ],
    [{ type: 'none' }, { type: 'none' }],
  ])('may have the credential %j', async (credential, shown) => {
    const tls = { ca: testCertificate };
    const timeouts = { connect_seconds: 1, response_seconds: 600, idle_seconds: 600 };
    const body = newUpstream({}, { base_url: 'http://10.0.0.7:8080', credential, tls, timeouts });
    const created = await admin.post('/v1/resources', body).expect(201);
    expect(created.body.upstream).toEqual({
      base_url: 'http://10.0.0.7:8080',
      protocol: 'plain',
      credential: shown,
      tls,
      timeouts,
    });
    expect(await credentialsOf(created.body)).toHaveLength(credential.type === 'none' ? 0 : 1);
  });

  it.each([
    ['without a slug', { slug: undefined }, 'a resource of kind http needs a slug'],
    ['without an upstream', { upstream: undefined }, 'a resource of kind http needs an upstream'],
    ['with a reserved slug', { slug: 'readyz' }, 'slug readyz is reserved'],
    ['with a slug that is no name', { slug: 'a/b' }, 'slug must be 1 to 63 characters'],
    [
      'with a connection',
      { connection: { host: 'db.internal', username: 'a', password: 'b' } },
      'a resource of kind http has no connection',
    ],
    [
      'with a scope without routes',
      { scopes: [{ name: 'read', description: 'Read', risk: 'low' }] },
      'scope read has no routes, so it would permit nothing',
    ],
    [
      'with a scope that maps to roles',
      { scopes: [{ name: 'read', description: 'Read', risk: 'low', roles: ['reader'] }] },
      'scope read: a scope of an http resource maps to routes',
    ],
    [
      'with a scope that maps to roles and routes',
      { scopes: [{ ...newUpstream().scopes[0], roles: ['reader'] }] },
      'scope read has members of several kinds of resources',
    ],
    [
      'with a wrong route',
      {
        scopes: [
          { name: 'read', description: 'Read', risk: 'low', routes: [{ methods: ['GET'], path: '/..' }] },
        ],
      },
      'scope read: path /.. has a dot segment',
    ],
    [
      'with the gateway as identifier',
      { identifier: `${testGatewayUrl}/x` },
      'identifier must not be the gateway',
    ],
  ])('is refused %s', async (_what, change, detail) => {
    const refused = await admin.post('/v1/resources', newUpstream(change)).expect(400);
    expect(refused.body.code).toBe('invalid-request');
    expect(refused.body.detail).toContain(detail);
  });

  it.each([
    ['a base URL with a query', { base_url: 'https://a.example/?x' }, 'base_url must not have a query'],
    ['a base URL at the broker', { base_url: 'https://hallpass.test' }, 'base_url must not be at the broker'],
    ['a base URL at the gateway', { base_url: testGatewayUrl }, 'base_url must not be at the broker'],
    ['a credential without secret', { credential: { type: 'bearer' } }, 'needs secret'],
    [
      'a secret with a line break',
      { credential: { type: 'bearer', secret: 'a\r\nx: y' } },
      'secret has a control character',
    ],
    [
      'a hop-by-hop header',
      { credential: { type: 'header', name: 'Connection', secret: 'a' } },
      'the header Connection cannot hold a credential',
    ],
    ['certificates that are none', { tls: { ca: 'a' } }, 'tls.ca must be one or more certificates'],
  ])('is refused with %s', async (_what, upstream, detail) => {
    const refused = await admin.post('/v1/resources', newUpstream({}, upstream)).expect(400);
    expect(refused.body).toMatchObject({ code: 'invalid-request' });
    expect(refused.body.detail).toContain(detail);
  });

  it.each([
    ['another protocol', { protocol: 'openai' }],
    ['no base URL', { base_url: undefined }],
    ['no credential', { credential: undefined }],
    ['another type of credential', { credential: { type: 'federated' } }],
    ['a longer secret', { credential: { type: 'bearer', secret: 'a'.repeat(8193) } }],
    ['an empty secret', { credential: { type: 'bearer', secret: '' } }],
    ['too long a connect timeout', { timeouts: { connect_seconds: 61 } }],
    ['no connect timeout', { timeouts: { connect_seconds: 0 } }],
    ['too long a response timeout', { timeouts: { response_seconds: 601 } }],
    ['too long an idle timeout', { timeouts: { idle_seconds: 601 } }],
  ])('is refused by the contract with %s', async (_what, upstream) => {
    await admin.post('/v1/resources', newUpstream({}, upstream)).expect(400);
  });

  it('is the only kind that has slug, upstream and routes', async () => {
    const { slug, upstream, scopes } = newUpstream();
    const plain = newUpstream({ slug: undefined, upstream: undefined, kind: 'api' });
    const simple = [{ name: 'read', description: 'Read', risk: 'low' }];
    const refusals = [
      [{ ...plain, scopes: simple, slug }, 'a resource of kind api has no slug and no upstream'],
      [{ ...plain, scopes: simple, upstream }, 'a resource of kind api has no slug and no upstream'],
      [
        { ...plain, kind: 'redis', scopes: simple, slug },
        'a resource of kind redis has no slug and no upstream',
      ],
      [{ ...plain, scopes }, 'scope read has a mapping, but a resource of kind api has no target'],
      [{ ...plain, kind: 'postgres', scopes }, 'scope read: a scope maps to roles'],
    ] as const;
    for (const [body, detail] of refusals) {
      const refused = await admin.post('/v1/resources', body).expect(400);
      expect(refused.body.detail).toBe(detail);
    }
    const api = await createResource(broker);
    const change = { upstream: { timeouts: { idle_seconds: 5 } } };
    const refused = await admin.patch(pathOf(api), change).expect(400);
    expect(refused.body.detail).toBe('a resource of kind api has no upstream');
    await add(api).expect(404);
  });

  it('keeps its slug permanently, also when it is deleted, and 20 callers at once get it once', async () => {
    const body = newUpstream();
    const { body: created } = await admin.post('/v1/resources', body).expect(201);
    const again = () => admin.post('/v1/resources', newUpstream({ slug: body.slug }));
    expect((await again().expect(409)).body.code).toBe('slug-taken');
    await admin.delete(pathOf(created)).expect(204);
    expect((await again().expect(409)).body.code).toBe('slug-taken');
    const slug = `${body.slug}-contested`;
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => admin.post('/v1/resources', newUpstream({ slug }))),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(answers.filter(({ body: { code } }) => code === 'slug-taken')).toHaveLength(19);
  });

  it('has tokens and no leases, and approvers see its routes', async () => {
    await createPolicy(
      broker,
      'permit(principal, action == Action::"request", resource) when { resource.kind == "http" };',
    );
    const resource = await createUpstream(broker);
    const agent = await createAgent(broker);
    const api = await agent.api();
    const { body: grant } = await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
    expect(grant.scope_details).toEqual([
      { name: 'read', description: 'Read', risk: 'low', routes: [{ methods: ['GET'], path: '/**' }] },
    ]);
    await agent.token({ resource: resource.identifier, scope: 'read' }).expect(200);
    const refused = await api.post('/v1/leases', { grant_id: grant.id });
    const ofApi = await createResource(broker);
    const { body: other } = await api.post('/v1/grants', grantRequest(ofApi.identifier));
    const expected = await api.post('/v1/leases', { grant_id: other.id });
    expect({ status: refused.status, code: refused.body.code }).toEqual({
      status: expected.status,
      code: expected.body.code,
    });
    expect(refused.status).toBe(400);
  });

  it('ends the grants with a scope whose routes change, and no others', async () => {
    const [read] = newUpstream().scopes;
    const write = { ...read, name: 'write', routes: [{ methods: ['POST'], path: '/issues' }] };
    const body = newUpstream({ scopes: [read, write] });
    const { body: resource } = await admin.post('/v1/resources', body).expect(201);
    const api = await (await createAgent(broker)).api();
    const ask = async (scope: string) =>
      (await api.post('/v1/grants', grantRequest(body.identifier, { scopes: [scope] })).expect(201)).body;
    const [kept, ended] = [await ask('read'), await ask('write')];
    const wider = { ...write, routes: [...write.routes, { methods: ['DELETE'], path: '/issues/{id}' }] };
    await admin.patch(pathOf(resource), { scopes: [read, wider] }).expect(200);
    const statusOf = async ({ id }: { id: string }) => (await api.get(`/v1/grants/${id}`)).body.status;
    expect([await statusOf(kept), await statusOf(ended)]).toEqual(['active', 'revoked']);
    const refused = await admin
      .patch(pathOf(resource), { scopes: [{ name: 'read', description: 'Read', risk: 'low' }] })
      .expect(400);
    expect(refused.body.detail).toContain('has no routes');
  });

  it('has no URL at the gateway if there is no gateway', async () => {
    const without = await startBroker({ config: { gatewayUrl: undefined } });
    const { body } = await asBootstrap(without).post('/v1/resources', newUpstream()).expect(201);
    expect(body).toMatchObject({ slug: expect.any(String), gateway_url: null });
  });
});

describe('a change of an upstream', () => {
  it('replaces the members that are given, and no others', async () => {
    const resource = await createUpstream(broker);
    const before = (await admin.get(pathOf(resource)).expect(200)).body;
    const timeouts = { connect_seconds: 1, response_seconds: 2, idle_seconds: 3 };
    const changed = await admin.patch(pathOf(resource), { upstream: { timeouts } }).expect(200);
    expect(changed.body.upstream).toEqual({ ...before.upstream, timeouts });
    expect(await credentialsOf(resource)).toEqual(before.upstream_credentials);
    const [event] = (await eventsAbout(resource.id)).filter(
      ({ type }: { type: string }) => type === 'resource.updated',
    );
    expect(event.details.upstream).toEqual({ timeouts });
  });

  it.each([
    ['base URL', { base_url: 'https://evil.example' }],
    ['path', { base_url: 'https://vendor.example/v2' }],
    ['certificate', { tls: { ca: testCertificate } }],
  ])('to another %s is refused without a new secret, and nothing changes', async (_what, upstream) => {
    const resource = await createUpstream(broker);
    const before = (await admin.get(pathOf(resource)).expect(200)).body;
    const change = { name: 'Other', upstream };
    const refused = await admin.patch(pathOf(resource), change).expect(400);
    expect(refused.body).toMatchObject({ code: 'invalid-request' });
    expect(refused.body.detail).toContain('the stored secret is not sent there');
    const untyped = { ...change, upstream: { ...upstream, credential: { type: 'bearer' } } };
    const secretless = await admin.patch(pathOf(resource), untyped).expect(400);
    expect(secretless.body.detail).toBe('a credential of type bearer needs secret');
    expect((await admin.get(pathOf(resource)).expect(200)).body).toEqual(before);
  });

  it('to another base URL is possible with a new credential, which replaces all', async () => {
    const resource = await createUpstream(broker);
    await add(resource).expect(201);
    const old = await credentialsOf(resource);
    const credential = { type: 'header', name: 'x-api-key', secret: 'other-key' };
    const upstream = { base_url: 'https://other.example', credential };
    const { body } = await admin.patch(pathOf(resource), { upstream }).expect(200);
    expect(body.upstream).toMatchObject({
      base_url: 'https://other.example',
      credential: { type: 'header', name: 'x-api-key' },
    });
    const [now, ...more] = await credentialsOf(resource);
    expect(more).toEqual([]);
    const events = (await eventsAbout(resource.id)).map(
      ({ type, object_id: id }: { type: string; object_id: string }) => `${type} ${id}`,
    );
    expect(events.sort()).toEqual(
      [
        `resource.created ${resource.id}`,
        `resource.updated ${resource.id}`,
        ...[...old, now].map(({ id }: { id: string }) => `upstream_credential.added ${id}`),
        ...old.map(({ id }: { id: string }) => `upstream_credential.removed ${id}`),
      ].sort(),
    );
  });

  it('to another base URL needs no secret if the upstream has no authentication, before or after', async () => {
    const resource = await createUpstream(broker, { credential: { type: 'none' } });
    await admin.patch(pathOf(resource), { upstream: { base_url: 'https://b.example' } }).expect(200);
    const withSecret = await createUpstream(broker);
    const none = { base_url: 'https://b.example', credential: { type: 'none' } };
    const { body } = await admin.patch(pathOf(withSecret), { upstream: none }).expect(200);
    expect(body.upstream.credential).toEqual({ type: 'none' });
    expect(await credentialsOf(withSecret)).toEqual([]);
  });

  it.each([
    ['the protocol', { protocol: 'plain' }],
    ['nothing', {}],
  ])('cannot be one of %s', async (_what, upstream) => {
    const resource = await createUpstream(broker);
    await admin.patch(pathOf(resource), { upstream }).expect(400);
  });

  it('cannot be one of the slug', async () => {
    const resource = await createUpstream(broker);
    await admin.patch(pathOf(resource), { slug: 'other' }).expect(400);
  });
});

describe('the credentials of an upstream', () => {
  it('are at most two, one of which can be removed', async () => {
    const resource = await createUpstream(broker);
    const added = await add(resource).expect(201);
    const at = clock.now().toISOString();
    expect(added.body).toEqual({ ...shape, created_at: at, activates_at: at });
    const third = await add(resource).expect(409);
    expect(third.body).toMatchObject({
      code: 'conflict',
      detail: 'the upstream has two credentials: remove one first',
    });
    const [first, second] = await credentialsOf(resource);
    expect(second).toEqual(added.body);
    await remove(resource, first.id).expect(204);
    await remove(resource, first.id).expect(404);
    expect(await credentialsOf(resource)).toEqual([second]);
    const last = await remove(resource, second.id).expect(409);
    expect(last.body).toMatchObject({
      code: 'conflict',
      detail: 'the last credential cannot be removed: add another one first',
    });
    await add(resource).expect(201);
    expect(await credentialsOf(resource)).toHaveLength(2);
  });

  it('are at most two even if 20 are added at once', async () => {
    const resource = await createUpstream(broker);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => add(resource, { secret: `key-${index}` })),
    );
    expect(answers.map(({ status }) => status).filter((status) => status === 201)).toHaveLength(1);
    expect(answers.map(({ body }) => body.code).filter((code) => code === 'conflict')).toHaveLength(19);
    expect(await credentialsOf(resource)).toHaveLength(2);
    const two = await credentialsOf(resource);
    const removals = await Promise.all(
      Array.from({ length: 20 }, (_, index) => remove(resource, two[index % 2].id)),
    );
    expect(removals.filter(({ status }) => status === 204)).toHaveLength(1);
    expect(await credentialsOf(resource)).toHaveLength(1);
  });

  it('are at most two by a constraint of the database, whatever the broker does', async () => {
    const resource = await createUpstream(broker);
    await add(resource).expect(201);
    const insert = (place: number) =>
      broker.database.pool.query(
        `insert into upstream_credentials (id, resource_id, place, secret_sealed, activates_at, created_at, created_by)
         values ('upc_x', $1, $2, '\\x00', now(), now(), 'adm_1')`,
        [resource.id, place],
      );
    await expect(insert(1)).rejects.toMatchObject({ code: '23505' });
    await expect(insert(2)).rejects.toMatchObject({ code: '23505' });
    await expect(insert(3)).rejects.toMatchObject({ code: '23514' });
  });

  it('are activated later if their time is given, and the one in use is not removed before', async () => {
    const resource = await createUpstream(broker);
    const at = new Date(clock.now().getTime() + 3_600_000).toISOString();
    const added = await add(resource, { secret: 'next-key', activates_at: at }).expect(201);
    expect(added.body.activates_at).toBe(at);
    const [first] = await credentialsOf(resource);
    const refused = await remove(resource, first.id).expect(409);
    expect(refused.body.detail).toContain(`the other credential is used from ${at} on`);
    await remove(resource, added.body.id).expect(204);
    const later = await add(resource, { secret: 'next-key', activates_at: at }).expect(201);
    clock.advance(3_600);
    await remove(resource, first.id).expect(204);
    expect(await credentialsOf(resource)).toEqual([later.body]);
  });

  it.each([
    ['an empty secret', { secret: '' }],
    ['no secret', {}],
    ['a secret with a line break', { secret: 'a\nb' }],
    ['a secret that ends with a space', { secret: 'a ' }],
    ['too long a secret', { secret: 'a'.repeat(8193) }],
    ['a time in the past', { secret: 'a', activates_at: '2020-01-01T00:00:00Z' }],
    ['a time that is none', { secret: 'a', activates_at: 'tomorrow' }],
    ['another member', { secret: 'a', type: 'bearer' }],
  ])('are refused with %s', async (_what, body) => {
    const resource = await createUpstream(broker);
    expect((await add(resource, body).expect(400)).body.code).toBe('invalid-request');
    expect(await credentialsOf(resource)).toHaveLength(1);
  });

  it('do not exist for an upstream without authentication', async () => {
    const resource = await createUpstream(broker, { credential: { type: 'none' } });
    const some = (await credentialsOf(await createUpstream(broker)))[0].id;
    for (const refused of [await add(resource), await remove(resource, some)]) {
      expect(refused.status).toBe(400);
      expect(refused.body.detail).toContain('of type none, which has no secret');
    }
  });

  it('are deleted with their resource', async () => {
    const resource = await createUpstream(broker);
    await add(resource).expect(201);
    await admin.delete(pathOf(resource)).expect(204);
    const { rows } = await broker.database.owner.query(
      'select id from upstream_credentials where resource_id = $1',
      [resource.id],
    );
    expect(rows).toEqual([]);
    const [deleted] = (await eventsAbout(resource.id)).filter(
      ({ type }: { type: string }) => type === 'resource.deleted',
    );
    expect(deleted.details).toEqual({ secrets_revoked: [], upstream_credentials_removed: 2 });
    await add(resource).expect(404);
  });

  it('can be added and removed by admins only', async () => {
    const resource = await createUpstream(broker);
    const path = `${pathOf(resource)}/upstream-credentials`;
    const agent = await (await createAgent(broker)).api();
    const [{ id }] = await credentialsOf(resource);
    await agent.post(path, { secret: 'a' }).expect(403);
    await agent.delete(`${path}/${id}`).expect(403);
    await apiOf(broker, undefined).post(path, { secret: 'a' }).expect(401);
  });
});

describe('the application role', () => {
  it.each(['slug', 'protocol', 'resource_id'])('cannot change the %s of an upstream', async (column) => {
    await expect(
      broker.database.pool.query(`update upstreams set ${column} = ${column}`),
    ).rejects.toMatchObject({ code: '42501' });
  });

  it('cannot delete an upstream, so that its slug stays taken', async () => {
    await expect(broker.database.pool.query('delete from upstreams')).rejects.toMatchObject({
      code: '42501',
    });
  });
});
