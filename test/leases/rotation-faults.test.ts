import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listUnfinished } from '../../src/resources/connections/passwords.ts';
import { failWrites } from '../oauth/fixtures.ts';
import { eventually } from '../support/eventually.ts';
import { createRotationScene, type RotationScene } from './rotation-scene.ts';
import {
  adminPassword,
  connection,
  createLease,
  createTargetAndGrant,
  holdCalls,
  type Scene,
  startScene,
} from './scene.ts';

let scene: Scene;
let on: RotationScene;

beforeAll(async () => {
  scene = await startScene();
  on = createRotationScene(scene);
});

beforeEach(() => on.reset());

describe('a rotation that fails', () => {
  it.each([
    ['before the target was reached', 'before'],
    ['after the target had the password', 'after'],
  ])('%s is finished by the worker, and loses no password', async (_when, when) => {
    const target = await on.createTarget();
    if (when === 'before') scene.server.faults.isUnreachable = true;
    else scene.server.faults.lostAfter.add('rotateAdminCredential');
    const refused = await on.rotate(target).expect(503);
    expect(refused.body.code).toBe('target-unavailable');
    expect(on.passwordInTarget() === adminPassword).toBe(when === 'before');
    await on.rotate(target).expect(409);
    scene.server.faults.isUnreachable = false;
    scene.server.faults.lostAfter.clear();
    scene.clock.advance(29);
    await on.runRotation();
    expect(await on.eventsOf(target)).toEqual(['rotation_started', 'rotation_failed']);
    scene.clock.advance(2);
    await on.runRotation();
    expect(await on.eventsOf(target)).toEqual(['rotation_started', 'rotation_failed', 'rotated']);
    expect(on.passwordInTarget()).toMatch(/^hpt_/);
    await on.expectWorks(target);
  });

  it.each([
    ['removes every other password', true],
    ['is finished although the target refuses to remove others', false],
  ])('after the target had the password %s', async (_what, canSetAgain) => {
    const target = await on.createTarget();
    const { faults, calls } = scene.server;
    faults.lostAfter.add('rotateAdminCredential');
    await on.rotate(target).expect(503);
    faults.lostAfter.clear();
    const callsBefore = calls.length;
    if (!canSetAgain) faults.missingPrivilege.add('rotateAdminCredential');
    scene.clock.advance(31);
    await on.runRotation();
    expect(calls.slice(callsBefore)).toContain('rotateAdminCredential');
    expect(await on.eventsOf(target)).toEqual(['rotation_started', 'rotation_failed', 'rotated']);
    await on.expectWorks(target);
  });

  it('because its event cannot be written is finished by the worker, with its event', async () => {
    const target = await on.createTarget();
    const undo = await failWrites(
      scene.broker.database,
      'insert on audit_events',
      "new.type = 'target.password_rotated'",
    );
    await on.rotate(target).expect(503);
    await undo();
    expect(on.passwordInTarget()).toMatch(/^hpt_/);
    scene.clock.advance(31);
    await on.runRotation();
    expect(await on.eventsOf(target)).toEqual(['rotation_started', 'rotated']);
    await on.expectWorks(target);
  });

  it('for a missing privilege says which, once, and is finished when the account has it', async () => {
    const target = await on.createTarget();
    scene.server.faults.missingPrivilege.add('rotateAdminCredential');
    await on.rotate(target).expect(503);
    for (let n = 0; n < 3; n += 1) {
      scene.clock.advance(31);
      await on.runRotation();
    }
    expect(await on.eventsOf(target)).toEqual(['rotation_started', 'rotation_failed']);
    const { rows } = await scene.broker.database.owner.query(
      "select details from audit_events where type = 'target.password_rotation_failed' and object_id = $1",
      [target.id],
    );
    expect(rows[0].details).toMatchObject({ statement: 'ALLOW rotateAdminCredential' });
    await on.expectWorks(target);
    scene.server.faults.missingPrivilege.clear();
    scene.clock.advance(31);
    await on.runRotation();
    await on.expectWorks(target);
    expect(on.passwordInTarget()).toMatch(/^hpt_/);
  });

  it('with its process is finished by another one, and a process that wakes up late changes nothing', async () => {
    const target = await on.createTarget();
    const before = scene.server.calls.length;
    const release = holdCalls(scene.server);
    const late = on.rotate(target).then((answer) => answer.status);
    await eventually(async () => expect(scene.server.calls.slice(before)).toContain('rotateAdminCredential'));
    scene.server.faults.hold = Promise.resolve();
    const second = await startScene({ ...scene, database: scene.broker.database });
    scene.clock.advance(31);
    await on.runRotation(second);
    const next = on.passwordInTarget();
    expect(next).toMatch(/^hpt_/);
    release();
    expect([409, 503]).toContain(await late);
    expect(on.passwordInTarget()).toBe(next);
    await on.expectWorks(target);
  });

  it('is left to the process that has claimed it since: one that pauses before it reads the password changes nothing', async () => {
    const target = await on.createTarget();
    const { owner } = scene.broker.database;
    // Another process claims it as soon as it has begun.
    await owner.query(`create function claim_at_once() returns trigger language plpgsql as $$
      begin update connections set pending_at = pending_at + interval '31 s'; return new; end $$;
      create trigger claim_at_once after insert on audit_events for each row
        when (new.type = 'target.password_rotation_started') execute function claim_at_once()`);
    const before = scene.server.calls.length;
    await on.rotate(target).expect(409);
    expect(scene.server.calls.slice(before)).toEqual([]);
    await owner.query('drop trigger claim_at_once on audit_events; drop function claim_at_once()');
    scene.clock.advance(70);
    await on.runRotation();
    expect(await on.eventsOf(target)).toEqual(['rotation_started', 'rotated']);
    await on.expectWorks(target);
  });

  it('is not set back by a process that wakes up after the next one was set', async () => {
    const target = await on.createTarget();
    const before = scene.server.calls.length;
    const release = holdCalls(scene.server, 'holdAfterLogin');
    const late = on.rotate(target).then((answer) => answer.status);
    await eventually(async () => expect(scene.server.calls.slice(before)).toContain('rotateAdminCredential'));
    scene.server.faults.holdAfterLogin = Promise.resolve();
    const second = await startScene({ ...scene, database: scene.broker.database });
    scene.clock.advance(31);
    await on.runRotation(second);
    await on.rotate(target, second).expect(200);
    const newest = on.passwordInTarget();
    release();
    expect(await late).toBe(503);
    expect(on.passwordInTarget()).toBe(newest);
    await on.expectWorks(target);
  });

  it('is finished although another target that cannot be reached takes longer than one attempt may', async () => {
    const dead = await on.createTarget({ connection: { ...connection, host: 'a.internal' } });
    const well = await on.createTarget({ connection: { ...connection, host: 'b.internal' } });
    scene.server.faults.isUnreachable = true;
    await Promise.all([on.rotate(dead).expect(503), on.rotate(well).expect(503)]);
    scene.server.faults.isUnreachable = false;
    const { owner } = scene.broker.database;
    await owner.query('update connections set port = 1 where id = $1', [dead.connection.id]);
    scene.clock.advance(31);
    // The test of a target fails at once here; in this time a real one would have been waited for.
    scene.server.faults.onUnreachable = () => scene.clock.advance(25);
    await on.runRotation();
    expect(await on.eventsOf(well)).toContain('rotated');
    await on.expectWorks(well);
  });

  it('is finished through a connection that a resource has, not through one that only leases need', async () => {
    const { resource } = await createLease(scene);
    const changed = await scene.admin
      .patch(`/v1/resources/${resource.id}`, { connection: { ...connection, database: 'other' } })
      .expect(200);
    const { db, owner } = scene.broker.database;
    const now = scene.clock.now();
    await owner.query('update connections set pending_at = $1, pending_password_sealed = password_sealed', [
      now,
    ]);
    const later = new Date(now.getTime() + 1);
    const { rows } = await owner.query<{ id: string }>('select id from connections order by id');
    expect(rows).toHaveLength(2);
    for (const { id } of rows) {
      await owner.query('update resources set connection_id = $1 where id = $2', [id, resource.id]);
      expect(await listUnfinished(db, later)).toEqual([id]);
    }
    expect(rows.map(({ id }) => id)).toContain(changed.body.connection.id);
  });

  it('keeps the pending password beside one that an admin gives while it is tried again', async () => {
    const target = await on.createTarget();
    await on.createTarget();
    scene.server.faults.isUnreachable = true;
    await on.rotate(target).expect(503);
    scene.server.faults.isUnreachable = false;
    await scene.admin.patch(`/v1/resources/${target.id}`, { connection }).expect(200);
    scene.server.faults.lostAfter.add('rotateAdminCredential');
    scene.clock.advance(31);
    await on.runRotation();
    scene.server.faults.lostAfter.clear();
    scene.clock.advance(31);
    await on.runRotation();
    expect(on.passwordInTarget()).toMatch(/^hpt_/);
    await on.expectWorks(target);
  });

  it('does not keep the other targets from theirs', async () => {
    const due = { password_rotation_days: 1 };
    const dead = await on.createTarget({ connection: { ...connection, ...due, host: 'a.internal' } });
    const well = await on.createTarget({ connection: { ...connection, ...due, host: 'b.internal' } });
    const { owner } = scene.broker.database;
    await owner.query('update connections set port = 1 where id = $1', [dead.connection.id]);
    scene.clock.advance(86_400);
    await on.runRotation();
    expect(await on.eventsOf(dead)).toEqual(['rotation_started', 'rotation_failed']);
    expect(await on.eventsOf(well)).toEqual(['rotation_started', 'rotated']);
  });
});

describe('several at the same time', () => {
  it('of rotations: one is made, the others are refused', async () => {
    const target = await on.createTarget();
    const answers = await Promise.all([1, 2, 3, 4].map(() => on.rotate(target)));
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(0);
    expect(new Set(statuses)).toEqual(new Set([200, ...(statuses.includes(409) ? [409] : [])]));
    await on.expectWorks(target);
  });

  it('of a rotation and a change of the connection: the broker can still log in', async () => {
    const { resource } = await createTargetAndGrant(scene);
    const release = holdCalls(scene.server);
    const before = scene.server.calls.length;
    const changed = scene.admin
      .patch(`/v1/resources/${resource.id}`, { connection })
      .then((answer) => answer);
    await eventually(async () => expect(scene.server.calls.slice(before).length).toBeGreaterThan(0));
    scene.server.faults.hold = Promise.resolve();
    scene.clock.advance(1);
    // Its first call is held, but has the old password still.
    release();
    const [answer] = await Promise.all([changed, on.rotate(resource)]);
    expect([200, 409, 422]).toContain(answer.status);
    await on.expectWorks(resource);
  });
});
