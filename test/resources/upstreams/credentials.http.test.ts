import { beforeAll, describe, expect, it } from 'vitest';
import { apiOf, createAgent, createUpstream } from '../../support/broker.ts';
import { credentialShape, pathOf, startUpstreamScene, type UpstreamScene } from './scene.ts';

let broker: UpstreamScene['broker'];
let clock: UpstreamScene['clock'];
let admin: UpstreamScene['admin'];
let credentialsOf: UpstreamScene['credentialsOf'];
let firstOf: UpstreamScene['firstOf'];
let add: UpstreamScene['add'];
let remove: UpstreamScene['remove'];
let eventsAbout: UpstreamScene['eventsAbout'];

beforeAll(async () => {
  ({ broker, clock, admin, credentialsOf, firstOf, add, remove, eventsAbout } = await startUpstreamScene());
});

describe('the credentials of an upstream', () => {
  it('are at most two, of which the last one cannot be removed', async () => {
    const resource = await createUpstream(broker);
    const added = await add(resource).expect(201);
    const at = clock.now().toISOString();
    expect(added.body).toEqual({ ...credentialShape, created_at: at, activates_at: at });
    const third = await add(resource).expect(409);
    expect(third.body).toMatchObject({
      code: 'conflict',
      detail: 'the upstream has two credentials: remove one first',
    });
    const [first, second] = await credentialsOf(resource);
    expect(second).toEqual(added.body);
    await remove(resource, first?.id ?? '').expect(204);
    await remove(resource, first?.id ?? '').expect(404);
    expect(await credentialsOf(resource)).toEqual([second]);
    const last = await remove(resource, second?.id ?? '').expect(409);
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
      Array.from({ length: 20 }, (_, index) => remove(resource, two[index % 2]?.id ?? '')),
    );
    expect(removals.filter(({ status }) => status === 204)).toHaveLength(1);
    expect(await credentialsOf(resource)).toHaveLength(1);
  });

  it('are at most two by a constraint of the database, even if the broker did not count them', async () => {
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
    const refused = await remove(resource, first?.id ?? '').expect(409);
    expect(refused.body.detail).toContain(`the other credential is used from ${at} on`);
    await remove(resource, added.body.id).expect(204);
    const later = await add(resource, { secret: 'next-key', activates_at: at }).expect(201);
    clock.advance(3_600);
    await remove(resource, first?.id ?? '').expect(204);
    expect(await credentialsOf(resource)).toEqual([later.body]);
  });

  it.each([
    ['an empty secret', { secret: '' }],
    ['no secret', {}],
    ['a secret with a line break', { secret: 'a\nb' }],
    ['a secret that ends with a space', { secret: 'a ' }],
    ['too long a secret', { secret: 'a'.repeat(8193) }],
    ['a time in the past', { secret: 'a', activates_at: '2020-01-01T00:00:00Z' }],
    ['a time that is not a date', { secret: 'a', activates_at: 'tomorrow' }],
    ['an unknown member', { secret: 'a', type: 'bearer' }],
  ])('are refused with %s', async (_what, body) => {
    const resource = await createUpstream(broker);
    expect((await add(resource, body).expect(400)).body.code).toBe('invalid-request');
    expect(await credentialsOf(resource)).toHaveLength(1);
  });

  it('do not exist for an upstream without authentication', async () => {
    const resource = await createUpstream(broker, { credential: { type: 'none' } });
    const some = await firstOf(await createUpstream(broker));
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
    const [deleted] = (await eventsAbout(resource.id)).filter(({ type }) => type === 'resource.deleted');
    expect(deleted?.details).toEqual({ secrets_revoked: [], upstream_credentials_removed: 2 });
    await add(resource).expect(404);
  });

  it('can be added and removed by admins only', async () => {
    const resource = await createUpstream(broker);
    const path = `${pathOf(resource)}/upstream-credentials`;
    const agent = await (await createAgent(broker)).api();
    const id = await firstOf(resource);
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
