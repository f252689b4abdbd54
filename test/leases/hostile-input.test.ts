import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { apiOf, createAgent } from '../support/broker.ts';
import {
  connection,
  createLease,
  createTargetAndGrant,
  type Scene,
  startScene,
  targetBody,
} from './scene.ts';

let scene: Scene;
let made: Awaited<ReturnType<typeof createLease>>;

beforeAll(async () => {
  scene = await startScene();
  made = await createLease(scene);
});

beforeEach(() => {
  expect([...scene.server.accounts.keys()]).toEqual([made.lease.account_name]);
});

const strings = [
  "'; drop role x; --",
  '"',
  ';',
  '\u0000',
  'a\u0000b',
  '\\',
  '',
  'x'.repeat(10_000),
  '😀',
  '\ud800',
];
const numbers = [0, -1, 0.5, 1e300, 2 ** 31, 2 ** 53 + 1, '60', '1h', null, [60], true, {}];
const unknownId = 'lse_01kjdw0a5vf8h8v0m6gq3r9x2c';

function refused({ status, body }: { status: number; body: { code?: string } }, statuses = [400]): void {
  expect(statuses).toContain(status);
  expect(body.code).toEqual(expect.any(String));
  expect(body.code).not.toBe('internal');
}

describe('a request for a lease is refused', () => {
  it.each([...strings, 5, null, {}, []])('with the grant %j', async (grant_id) => {
    refused(await (await scene.as()).post('/v1/leases', { grant_id }));
  });

  it.each(numbers)('with ttl_seconds %j', async (ttl_seconds) => {
    const api = await scene.as();
    refused(await api.post('/v1/leases', { grant_id: made.grant.id, ttl_seconds }));
    refused(await api.post(`/v1/leases/${made.lease.id}/renew`, { ttl_seconds }));
  });

  it.each([
    ['an unknown member', { account_name: 'postgres' }],
    ['a password', { password: 'x' }],
    ['scopes', { scopes: ['write'] }],
    ['another agent', { agent_id: 'x' }],
  ])('with %s', async (_what, more) => {
    refused(await (await scene.as()).post('/v1/leases', { grant_id: made.grant.id, ...more }));
  });

  it('without a credential, and for a person', async () => {
    const body = { grant_id: made.grant.id };
    refused(await apiOf(scene.broker, undefined).post('/v1/leases', body), [401]);
    refused(await scene.admin.post('/v1/leases', body), [401, 403]);
    refused(await scene.admin.post(`/v1/leases/${made.lease.id}/renew`), [401, 403]);
  });
});

describe('a lease is not found', () => {
  it.each([
    ...strings.filter((text) => text !== '').map(encodeURIComponentSafely),
    unknownId.toUpperCase(),
    'lse_',
    '..',
  ])('with the id %j', async (id) => {
    const api = await scene.as();
    const path = `/v1/leases/${id}`;
    for (const answer of [
      await api.get(path),
      await api.post(`${path}/renew`),
      await api.post(`${path}/revoke`),
    ])
      refused(answer, [400, 404, 405]);
  });

  it('with an id that does not exist, or the id of a lease of another agent: the answers are the same', async () => {
    const other = await (await createAgent(scene.broker)).api();
    const { id } = made.lease;
    for (const [call, ...rest] of [
      ['get', ''],
      ['post', '/renew'],
      ['post', '/revoke'],
    ] as const) {
      const foreign = await other[call](`/v1/leases/${id}${rest.join('')}`);
      const unknown = await other[call](`/v1/leases/${unknownId}${rest.join('')}`);
      refused(foreign, [404]);
      const withoutIds = ({ body }: typeof foreign) => ({
        ...body,
        instance: undefined,
        request_id: undefined,
      });
      expect(withoutIds(foreign)).toEqual(withoutIds(unknown));
    }
    expect((await other.get(`/v1/leases?grant_id=${made.grant.id}`).expect(200)).body.items).toEqual([]);
    expect((await other.get(`/v1/leases?resource_id=${made.resource.id}`).expect(200)).body.items).toEqual(
      [],
    );
  });
});

function encodeURIComponentSafely(text: string): string {
  return text === '\ud800' ? '%ED%A0%80' : encodeURIComponent(text.slice(0, 500));
}

describe('a list of leases', () => {
  it.each([
    'status=gone',
    'limit=0',
    'limit=1e9',
    'cursor=x',
    "agent_id=' or 1=1",
    'status=active&status=revoked',
  ])('is refused with %s', async (query) => refused(await scene.admin.get(`/v1/leases?${query}`)));

  it('is not continued with the cursor of another caller', async () => {
    const second = await createLease(scene);
    const { next_cursor: cursor } = (await scene.admin.get('/v1/leases?limit=1').expect(200)).body;
    expect(cursor).toEqual(expect.any(String));
    refused(await (await scene.as()).get(`/v1/leases?limit=1&cursor=${cursor}`));
    scene.server.accounts.delete(second.lease.account_name);
  });
});

describe('the revocation of a lease is refused', () => {
  it.each([5, null, '', '\u0000', 'x'.repeat(10_000), ['x']])('with the reason %j', async (reason) => {
    refused(await (await scene.as()).post(`/v1/leases/${made.lease.id}/revoke`, { reason }));
  });
});

describe('a connection', () => {
  it.each([
    ...strings.map((host) => ({ host })),
    { host: '../../etc' },
    { host: 'db.internal/x' },
    { host: 'user@db' },
    { port: 0 },
    { port: 65_536 },
    { port: 1.5 },
    { port: '5432' },
    { database: '\u0000' },
    { database: '' },
    { database: 'x'.repeat(64) },
    { username: '\u0000' },
    { username: '' },
    { username: ['a'] },
    { password: '' },
    { password: 'a\u0000b' },
    { password: 5 },
    { tls: { mode: 'none' } },
    { tls: { mode: 'verify', ca: '\u0000' } },
    { tls: { mode: 'verify', rejectUnauthorized: false } },
    { replicas: [{ host: ';' }] },
    { replicas: 'db' },
    { endpoint: { host: '' } },
    { owned_objects: 'give away' },
    { ssl: false },
    { options: '-c role=postgres' },
  ])('with %j is refused', async (change) => {
    const body = targetBody({ connection: { ...connection, ...change } });
    refused(await scene.admin.post('/v1/resources', body));
    refused(await scene.admin.patch(`/v1/resources/${made.resource.id}`, { connection: body.connection }));
  });

  it.each([
    [],
    'reader',
    [''],
    [5],
    [null],
    ['\u0000'],
    ['reader\u0000'],
    ['x'.repeat(64)],
    ['é'.repeat(32)],
    Array.from({ length: 21 }, () => 'reader'),
    ['"; drop role reader; --'],
    ['reader, writer'],
  ])('with the roles %j is refused', async (roles) => {
    const scopes = [{ name: 'read', description: 'Read', risk: 'low', roles }];
    refused(await scene.admin.post('/v1/resources', targetBody({ scopes })), [400, 422]);
  });

  it('cannot be written by an agent', async () => {
    refused(await (await scene.as()).post('/v1/resources', targetBody()), [401, 403]);
    refused(await (await scene.as()).post(`/v1/resources/${made.resource.id}/preflight`), [401, 403]);
  });
});

it('a grant is for the agent that asked only, also while its lease is made', async () => {
  const { grant } = await createTargetAndGrant(scene);
  const other = await (await createAgent(scene.broker)).api();
  refused(await other.post('/v1/leases', { grant_id: grant.id }), [404]);
});
