import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRotationScene, type RotationScene } from './rotation-scene.ts';
import { connection, createLease, endDue, readLease, type Scene, startScene, targetBody } from './scene.ts';

let scene: Scene;
let on: RotationScene;

beforeAll(async () => {
  scene = await startScene();
  on = createRotationScene(scene);
});

beforeEach(() => on.reset());

describe('the password of an admin account', () => {
  it('is replaced on demand, and never shown', async () => {
    const target = await on.createTarget();
    const { body } = await on.rotate(target).expect(200);
    expect(Object.keys(body)).toEqual(['changed_at']);
    const next = on.passwordInTarget();
    expect(next).toMatch(/^hpt_\w{43}$/);
    await on.expectWorks(target);
    expect(await on.eventsOf(target)).toEqual(['rotation_started', 'rotated']);
    const shown = (await scene.admin.get(`/v1/resources/${target.id}`).expect(200)).body.connection;
    expect(shown.password_changed_at).toBe(body.changed_at);
    const { rows } = await scene.broker.database.owner.query(
      'select audit_events::text as text from audit_events',
    );
    expect(JSON.stringify([shown, rows])).not.toContain(next);
  });

  it('is replaced for every connection with the same account, so that older leases still end', async () => {
    const { lease, resource } = await createLease(scene);
    const other = await on.createTarget();
    await scene.admin
      .patch(`/v1/resources/${resource.id}`, { connection: { ...connection, owned_objects: 'drop' } })
      .expect(200);
    await on.rotate(other).expect(200);
    await on.expectWorks(resource);
    await scene.admin.post(`/v1/leases/${lease.id}/revoke`).expect(200);
    await endDue(scene);
    expect((await readLease(scene, lease.id)).status).toBe('revoked');
  });

  it('is replaced once it is older than its connection permits', async () => {
    const target = await on.createTarget({ connection: { ...connection, password_rotation_days: 7 } });
    const never = await on.createTarget({ connection: { ...connection, host: 'other.internal' } });
    scene.clock.advance(7 * 86_400 - 60);
    await on.runRotation();
    expect(await on.eventsOf(target)).toEqual([]);
    scene.clock.advance(60);
    await on.runRotation();
    expect(await on.eventsOf(target)).toEqual(['rotation_started', 'rotated']);
    expect(await on.eventsOf(never)).toEqual([]);
    scene.clock.advance(10);
    await on.runRotation();
    expect(await on.eventsOf(target)).toHaveLength(2);
  });

  it('is not needed for another connection with the same account and TLS settings, and only for such a one', async () => {
    await on.rotate(await on.createTarget()).expect(200);
    const { password: _, ...without } = connection;
    await on.expectWorks(await on.createTarget({ connection: without }));
    for (const change of [
      { tls: { mode: 'off' } },
      { username: 'other' },
      { port: 9 },
      { host: 'other.internal' },
      { replicas: [{ host: 'unknown.internal' }] },
    ]) {
      const body = targetBody({ connection: { ...without, ...change } });
      const refused = await scene.admin.post('/v1/resources', body).expect(400);
      expect(refused.body.detail).toContain('no password for this account');
    }
  });

  it('that an admin has replaced in the target is used from the next connection on', async () => {
    const target = await on.createTarget();
    scene.server.faults.isUnreachable = true;
    await on.rotate(target).expect(503);
    scene.server.faults.isUnreachable = false;
    scene.server.ownPasswords.set(connection.username, 'by hand');
    scene.clock.advance(31);
    await on.runRotation();
    expect(on.passwordInTarget()).toBe('by hand');
    await scene.admin
      .patch(`/v1/resources/${target.id}`, { connection: { ...connection, password: 'by hand' } })
      .expect(200);
    await on.expectWorks(target);
    // The rotation that had failed is finished with it.
    scene.clock.advance(31);
    await on.runRotation();
    expect(on.passwordInTarget()).toMatch(/^hpt_/);
    await on.expectWorks(target);
  });
});
