import { beforeAll, describe, expect, it } from 'vitest';
import { type Api, asBootstrap, startBroker, type TestBroker } from '../support/broker.ts';
import { forbidWhen, permitAll, permitWhen } from './fixtures.ts';

let broker: TestBroker;
let admin: Api;

beforeAll(async () => {
  broker = await startBroker();
  admin = asBootstrap(broker);
});

const nowhere = '/v1/policies/pol_01kjdw0a5vf8h8v0m6gq3r9x2c';

describe('policies', () => {
  it('of a new broker consist of the default policy, which requires one approval for everything', async () => {
    const { body } = await admin.get('/v1/policies').expect(200);
    expect(body).toMatchObject({
      items: [{ name: 'default: one approval for everything', version: 1, updated_by: 'start' }],
      next_cursor: null,
    });
  });

  it('are created, read, listed, replaced and removed', async () => {
    const created = await admin.post('/v1/policies', { name: 'all', cedar: permitAll }).expect(201);
    const path = `/v1/policies/${created.body.id}`;
    expect(created.headers.location).toBe(path);
    expect(created.body).toMatchObject({ name: 'all', version: 1, cedar: permitAll });
    expect((await admin.get(path).expect(200)).body).toEqual(created.body);

    const first = await admin.get('/v1/policies?limit=1').expect(200);
    const rest = await admin.get(`/v1/policies?limit=1&cursor=${first.body.next_cursor}`).expect(200);
    const listed = [...first.body.items, ...rest.body.items];
    expect(new Set(listed.map(({ id }: { id: string }) => id)).size).toBe(2);

    const cedar = forbidWhen('context.delegated');
    const replaced = await admin.put(path, { cedar, version: 1 }).expect(200);
    expect(replaced.body).toMatchObject({ id: created.body.id, name: 'all', version: 2, cedar });
    await admin.delete(path).expect(204);
    await admin.get(path).expect(404);
  });

  it('that do not pass strict validation respond with 400 and the position of each error', async () => {
    const { body } = await admin
      .post('/v1/policies', { name: 'bad', cedar: `${permitAll}\n${permitWhen('context.nothing')}` })
      .expect(400);
    expect(body).toMatchObject({
      code: 'invalid-policy',
      errors: [{ message: expect.any(String), line: 2, column: expect.any(Number) }],
    });
  });

  it('respond with 409 to a name in use and to a version that is not the current one', async () => {
    const { body } = await admin.post('/v1/policies', { name: 'taken', cedar: permitAll }).expect(201);
    const taken = await admin.post('/v1/policies', { name: 'taken', cedar: permitAll }).expect(409);
    expect(taken.body.code).toBe('name-taken');
    const stale = await admin.put(`/v1/policies/${body.id}`, { cedar: permitAll, version: 2 }).expect(409);
    expect(stale.body.code).toBe('conflict');
  });

  it('that never existed respond with 404', async () => {
    await admin.get(nowhere).expect(404);
    await admin.put(nowhere, { cedar: permitAll }).expect(404);
    await admin.delete(nowhere).expect(404);
  });
});
