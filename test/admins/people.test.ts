import { beforeAll, describe, expect, it } from 'vitest';
import { apiOf, asBootstrap, createPerson, startBroker, type TestBroker } from '../support/broker.ts';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});

describe('people', () => {
  it('are created, read, listed, changed and removed', async () => {
    const admin = asBootstrap(broker);
    const created = await admin
      .post('/v1/admins', {
        name: 'Ada',
        email: 'Ada@Example.com',
        roles: ['approver'],
        groups: ['security'],
      })
      .expect(201);
    expect(created.body).toMatchObject({ email: 'ada@example.com', roles: ['approver'] });
    expect(created.headers.location).toBe(`/v1/admins/${created.body.id}`);
    await admin.get(`/v1/admins/${created.body.id}`).expect(200);
    const listed = await admin.get('/v1/admins?limit=1').expect(200);
    expect(listed.body.items).toHaveLength(1);
    const rest = await admin.get(`/v1/admins?limit=10&cursor=${listed.body.next_cursor}`).expect(200);
    const ids = [...listed.body.items, ...rest.body.items].map((person: { id: string }) => person.id);
    expect(new Set(ids).size).toBe(2);
    expect(ids).toContain(created.body.id);
    const changed = await admin.patch(`/v1/admins/${created.body.id}`, { roles: ['auditor'] }).expect(200);
    expect(changed.body.roles).toEqual(['auditor']);
    await admin.delete(`/v1/admins/${created.body.id}`).expect(204);
    await admin.get(`/v1/admins/${created.body.id}`).expect(404);
  });

  it('cannot share an e-mail address, in upper or lower case', async () => {
    const admin = asBootstrap(broker);
    const body = { name: 'Bo', email: 'bo@example.com', roles: [] };
    await admin.post('/v1/admins', body).expect(201);
    const second = await admin.post('/v1/admins', { ...body, email: 'BO@example.com' }).expect(409);
    expect(second.body.code).toBe('email-taken');
    expect(second.type).toBe('application/problem+json');
  });

  it('lose a role from the next request on', async () => {
    const person = await createPerson(broker, { roles: ['admin'] });
    await person.api.get('/v1/admins').expect(200);
    await asBootstrap(broker).patch(`/v1/admins/${person.id}`, { roles: [] }).expect(200);
    const refused = await person.api.get('/v1/admins').expect(403);
    expect(refused.body.code).toBe('forbidden');
  });
});

describe('API keys', () => {
  it('are shown once and are invalid after they are revoked', async () => {
    const person = await createPerson(broker, { roles: ['admin'] });
    const detail = await asBootstrap(broker).get(`/v1/admins/${person.id}`).expect(200);
    expect(JSON.stringify(detail.body)).not.toContain(person.key);
    const [key] = detail.body.keys;
    await asBootstrap(broker).delete(`/v1/admins/${person.id}/keys/${key.id}`).expect(204);
    await asBootstrap(broker).delete(`/v1/admins/${person.id}/keys/${key.id}`).expect(204);
    await person.api.get('/v1/admins').expect(401);
  });

  it('of the last usable admin cannot be revoked, nor the admin removed or demoted', async () => {
    const admin = asBootstrap(broker);
    const people = await admin.get('/v1/admins?limit=200').expect(200);
    const bootstrap = people.body.items.find((person: { name: string }) => person.name === 'bootstrap');
    for (const other of people.body.items) {
      if (other.id !== bootstrap.id) await admin.delete(`/v1/admins/${other.id}`).expect(204);
    }
    const { body } = await admin.get(`/v1/admins/${bootstrap.id}`).expect(200);
    const codes = [
      await admin.delete(`/v1/admins/${bootstrap.id}`).expect(409),
      await admin.patch(`/v1/admins/${bootstrap.id}`, { roles: ['auditor'] }).expect(409),
      await admin.delete(`/v1/admins/${bootstrap.id}/keys/${body.keys[0].id}`).expect(409),
    ].map((response) => response.body.code);
    expect(codes).toEqual(['last-admin', 'last-admin', 'last-admin']);
  });

  it('that are unknown are answered with 401 and the scheme to use', async () => {
    const refused = await apiOf(broker, 'hpa_unknown').get('/v1/admins').expect(401);
    expect(refused.headers['www-authenticate']).toContain('Bearer');
    expect(refused.body.code).toBe('unauthenticated');
  });
});
