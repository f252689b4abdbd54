import { beforeAll, describe, expect, it } from 'vitest';
import { testCertificate } from '../support/certificate.ts';
import { eventually } from '../support/eventually.ts';
import {
  connection,
  createLease,
  endDue,
  holdCalls,
  readLease,
  type Scene,
  startScene,
  targetBody,
} from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

describe('a connection', () => {
  it('is shown without its password, and sealed in the database', async () => {
    const { body } = await scene.admin.post('/v1/resources', targetBody()).expect(201);
    expect(body.connection).toMatchObject({
      host: 'db.internal',
      port: 4321,
      username: 'hallpass',
      tls: { mode: 'verify' },
    });
    const text = JSON.stringify((await scene.admin.get(`/v1/resources/${body.id}`).expect(200)).body);
    expect(text).not.toContain(connection.password);
    const { rows } = await scene.broker.database.owner.query('select * from connections');
    expect(rows.map((row) => row.password_sealed.toString('latin1')).join()).not.toContain(
      connection.password,
    );
  });

  it('may name the certificates to trust, which have line breaks', async () => {
    const tls = { mode: 'verify', ca: testCertificate };
    const body = targetBody({ connection: { ...connection, tls } });
    const created = await scene.admin.post('/v1/resources', body).expect(201);
    expect(created.body.connection.tls).toEqual(tls);
  });

  it('whose target lacks a privilege is refused with the statement that grants it', async () => {
    scene.server.faults.missingPrivilege.add('disableAccess');
    const refused = await scene.admin.post('/v1/resources', targetBody()).expect(422);
    scene.server.faults.missingPrivilege.clear();
    expect(refused.body).toMatchObject({ code: 'target-not-usable' });
    expect(refused.body.problems[0].statement).toBe('ALLOW disableAccess');
  });

  it('whose target maps a scope to a role that does not exist is refused', async () => {
    const scopes = [{ name: 'read', description: 'Read', risk: 'low', roles: ['nobody'] }];
    const refused = await scene.admin.post('/v1/resources', targetBody({ scopes })).expect(422);
    expect(refused.body.problems).toHaveLength(1);
  });

  it.each([
    [
      'of a resource with tokens',
      { kind: 'api', scopes: [{ name: 'read', description: 'Read', risk: 'low' }] },
    ],
    [
      'and a scope without a meaning in the target',
      { scopes: [{ name: 'read', description: 'Read', risk: 'low' }] },
    ],
    ['and a role for a resource with tokens', { kind: 'api', connection: undefined }],
  ])('%s is refused', async (_what, change) => {
    const refused = await scene.admin.post('/v1/resources', targetBody(change)).expect(400);
    expect(refused.body.code).toBe('invalid-request');
  });

  it('whose target begins to fail its test stops new leases, and ending goes on', async () => {
    const { lease, resource, grant } = await createLease(scene);
    scene.server.faults.missingPrivilege.add('findProblems');
    const tested = await scene.admin.post(`/v1/resources/${resource.id}/preflight`).expect(200);
    expect(tested.body.problems).toHaveLength(1);
    scene.server.faults.missingPrivilege.clear();
    const api = await scene.as();
    const refused = await api.post('/v1/leases', { grant_id: grant.id }).expect(503);
    expect(refused.body.code).toBe('target-not-ready');
    await api.post(`/v1/leases/${lease.id}/revoke`).expect(200);
    await endDue(scene);
    expect((await readLease(scene, lease.id)).status).toBe('revoked');
    await scene.admin.post(`/v1/resources/${resource.id}/preflight`).expect(200);
    await api.post('/v1/leases', { grant_id: grant.id }).expect(201);
  });

  it('with another password of the same admin account ends also the leases that were made with the old password', async () => {
    const { lease, resource } = await createLease(scene);
    const other = await createLease(scene);
    scene.server.adminPassword = 'the next password';
    const change = { connection: { ...connection, password: scene.server.adminPassword } };
    await scene.admin.patch(`/v1/resources/${resource.id}`, change).expect(200);
    const api = await scene.as();
    for (const { id } of [lease, other.lease]) {
      await api.post(`/v1/leases/${id}/revoke`).expect(200);
      await endDue(scene);
      expect(await readLease(scene, id)).toMatchObject({ status: 'revoked', last_error: null });
    }
    scene.server.adminPassword = connection.password;
    await scene.admin.patch(`/v1/resources/${resource.id}`, { connection }).expect(200);
  });

  it('is not used if the resource has changed while it was tested', async () => {
    const { resource } = await createLease(scene);
    const path = `/v1/resources/${resource.id}`;
    const before = scene.server.calls.length;
    const release = holdCalls(scene.server);
    const answer = scene.admin.patch(path, { connection }).then((response) => response);
    await eventually(async () => expect(scene.server.calls.length).toBeGreaterThan(before));
    await scene.admin.patch(path, { name: 'Other' }).expect(200);
    release();
    expect((await answer).body.code).toBe('conflict');
    expect((await scene.admin.get(path).expect(200)).body.connection.id).toBe(resource.connection.id);
  });

  it('that fails its test is refused, and the resource keeps the one that it has', async () => {
    const { resource } = await createLease(scene);
    const change = { connection: { ...connection, password: 'wrong' } };
    const refused = await scene.admin.patch(`/v1/resources/${resource.id}`, change).expect(422);
    expect(refused.body.code).toBe('target-not-usable');
    const read = await scene.admin.get(`/v1/resources/${resource.id}`).expect(200);
    expect(read.body.connection.id).toBe(resource.connection.id);
  });

  it('that is replaced still ends the leases that were made through it', async () => {
    const { lease, resource } = await createLease(scene);
    const changed = await scene.admin
      .patch(`/v1/resources/${resource.id}`, { connection: { ...connection, host: 'db2.internal' } })
      .expect(200);
    expect(changed.body.connection.id).not.toBe(resource.connection.id);
    const api = await scene.as();
    await api.post(`/v1/leases/${lease.id}/revoke`).expect(200);
    await endDue(scene);
    expect((await readLease(scene, lease.id)).status).toBe('revoked');
  });
});
