import { beforeAll, describe, expect, it } from 'vitest';
import { createUpstream } from '../../support/broker.ts';
import { testCertificate } from '../../support/certificate.ts';
import { pathOf, startUpstreamScene, type UpstreamScene } from './scene.ts';

let broker: UpstreamScene['broker'];
let admin: UpstreamScene['admin'];
let credentialsOf: UpstreamScene['credentialsOf'];
let add: UpstreamScene['add'];
let eventsAbout: UpstreamScene['eventsAbout'];

beforeAll(async () => {
  ({ broker, admin, credentialsOf, add, eventsAbout } = await startUpstreamScene());
});

describe('a change of an upstream', () => {
  it('replaces the members that are given, and no others', async () => {
    const resource = await createUpstream(broker);
    const before = (await admin.get(pathOf(resource)).expect(200)).body;
    const timeouts = { connect_seconds: 1, response_seconds: 2, idle_seconds: 3 };
    const changed = await admin.patch(pathOf(resource), { upstream: { timeouts } }).expect(200);
    expect(changed.body.upstream).toEqual({ ...before.upstream, timeouts });
    expect(await credentialsOf(resource)).toEqual(before.upstream_credentials);
    const [event] = (await eventsAbout(resource.id)).filter(({ type }) => type === 'resource.updated');
    expect(event?.details.upstream).toEqual({ timeouts });
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

  it('to another base URL is possible with a new credential, which replaces all others', async () => {
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
    const now = await credentialsOf(resource);
    expect(now).toHaveLength(1);
    const events = (await eventsAbout(resource.id)).map(({ type, object_id: id }) => `${type} ${id}`);
    expect(events.sort()).toEqual(
      [
        `resource.created ${resource.id}`,
        `resource.updated ${resource.id}`,
        ...[...old, ...now].map(({ id }) => `upstream_credential.added ${id}`),
        ...old.map(({ id }) => `upstream_credential.removed ${id}`),
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
    ['have a protocol', { protocol: 'plain' }],
    ['be empty', {}],
  ])('cannot %s', async (_what, upstream) => {
    const resource = await createUpstream(broker);
    await admin.patch(pathOf(resource), { upstream }).expect(400);
  });

  it('cannot give another slug', async () => {
    const resource = await createUpstream(broker);
    await admin.patch(pathOf(resource), { slug: 'other' }).expect(400);
  });
});
