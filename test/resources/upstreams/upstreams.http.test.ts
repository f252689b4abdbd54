import { beforeAll, describe, expect, it } from 'vitest';
import {
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  createUpstream,
  grantRequest,
  startBroker,
} from '../../support/broker.ts';
import { testCertificate } from '../../support/certificate.ts';
import { testGatewayUrl } from '../../support/test-config.ts';
import { credentialShape, newUpstream, pathOf, startUpstreamScene, type UpstreamScene } from './scene.ts';

let broker: UpstreamScene['broker'];
let clock: UpstreamScene['clock'];
let admin: UpstreamScene['admin'];
let credentialsOf: UpstreamScene['credentialsOf'];
let add: UpstreamScene['add'];

beforeAll(async () => {
  ({ broker, clock, admin, credentialsOf, add } = await startUpstreamScene());
});

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
      upstream_credentials: [{ ...credentialShape, created_at: at, activates_at: at }],
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
    ['with a slash in the slug', { slug: 'a/b' }, 'slug must be 1 to 63 characters'],
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
      'with a route that has a dot segment',
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
    ['a text that is no certificate', { tls: { ca: 'a' } }, 'tls.ca must be one or more certificates'],
  ])('is refused with %s', async (_what, upstream, detail) => {
    const refused = await admin.post('/v1/resources', newUpstream({}, upstream)).expect(400);
    expect(refused.body).toMatchObject({ code: 'invalid-request' });
    expect(refused.body.detail).toContain(detail);
  });

  it.each([
    ['an unknown protocol', { protocol: 'openai' }],
    ['no base URL', { base_url: undefined }],
    ['no credential', { credential: undefined }],
    ['an unknown type of credential', { credential: { type: 'federated' } }],
    ['too long a secret', { credential: { type: 'bearer', secret: 'a'.repeat(8193) } }],
    ['an empty secret', { credential: { type: 'bearer', secret: '' } }],
    ['too long a connect timeout', { timeouts: { connect_seconds: 61 } }],
    ['a connect timeout of 0', { timeouts: { connect_seconds: 0 } }],
    ['too long a response timeout', { timeouts: { response_seconds: 601 } }],
    ['too long an idle timeout', { timeouts: { idle_seconds: 601 } }],
  ])('is refused by the contract with %s', async (_what, upstream) => {
    await admin.post('/v1/resources', newUpstream({}, upstream)).expect(400);
  });

  it('is the only kind of resource with a slug, an upstream and routes', async () => {
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

  it('keeps its slug permanently, even when it is deleted, and only one of 20 concurrent requests gets a slug', async () => {
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
