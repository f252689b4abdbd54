import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listUnfinished } from '../../src/resources/connections/passwords.ts';
import { failWrites } from '../oauth/fixtures.ts';
import { eventually } from '../support/eventually.ts';
import {
  adminPassword,
  connection,
  createLease,
  createTargetAndGrant,
  endDue,
  holdCalls,
  readLease,
  resetTarget,
  runJob,
  type Scene,
  startScene,
  targetBody,
} from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

beforeEach(async () => {
  await resetTarget(scene);
  scene.server.ownPasswords.clear();
  await scene.broker.database.owner.query(
    'update resources set connection_id = null; delete from preflights',
  );
  await scene.broker.database.owner.query('delete from connections');
});

const passwordInTarget = (): string => scene.server.ownPasswords.get(connection.username) ?? adminPassword;
const runRotation = (of: Scene = scene): Promise<void> => runJob(of, 'rotate-target-passwords');
const rotate = ({ id }: { id: string }, of: Scene = scene) =>
  of.admin.post(`/v1/resources/${id}/rotate-password`);

async function createTarget(change: Record<string, unknown> = {}) {
  return (await scene.admin.post('/v1/resources', targetBody(change)).expect(201)).body;
}

/** Expects that the broker can log in: its test of the target finds no problems. */
async function expectWorks({ id }: { id: string }): Promise<void> {
  const { body } = await scene.admin.post(`/v1/resources/${id}/preflight`).expect(200);
  expect(body.problems).toEqual([]);
}

async function eventsOf({ id }: { id: string }): Promise<string[]> {
  const { rows } = await scene.broker.database.owner.query<{ type: string }>(
    "select type from audit_events where object_id = $1 and type like 'target.password%' order by id",
    [id],
  );
  return rows.map(({ type }) => type.replace('target.password_', ''));
}

describe('the password of an admin account', () => {
  it('is replaced on demand, and never shown', async () => {
    const target = await createTarget();
    const { body } = await rotate(target).expect(200);
    expect(Object.keys(body)).toEqual(['changed_at']);
    const next = passwordInTarget();
    expect(next).toMatch(/^hpt_\w{43}$/);
    await expectWorks(target);
    expect(await eventsOf(target)).toEqual(['rotation_started', 'rotated']);
    const shown = (await scene.admin.get(`/v1/resources/${target.id}`).expect(200)).body.connection;
    expect(shown.password_changed_at).toBe(body.changed_at);
    const { rows } = await scene.broker.database.owner.query(
      'select audit_events::text as text from audit_events',
    );
    expect(JSON.stringify([shown, rows])).not.toContain(next);
  });

  it('is replaced for every connection with the same account, so that older leases still end', async () => {
    const { lease, resource } = await createLease(scene);
    const other = await createTarget();
    await scene.admin
      .patch(`/v1/resources/${resource.id}`, { connection: { ...connection, owned_objects: 'drop' } })
      .expect(200);
    await rotate(other).expect(200);
    await expectWorks(resource);
    await scene.admin.post(`/v1/leases/${lease.id}/revoke`).expect(200);
    await endDue(scene);
    expect((await readLease(scene, lease.id)).status).toBe('revoked');
  });

  it('is replaced once it is older than its connection permits', async () => {
    const target = await createTarget({ connection: { ...connection, password_rotation_days: 7 } });
    const never = await createTarget({ connection: { ...connection, host: 'other.internal' } });
    scene.clock.advance(7 * 86_400 - 60);
    await runRotation();
    expect(await eventsOf(target)).toEqual([]);
    scene.clock.advance(60);
    await runRotation();
    expect(await eventsOf(target)).toEqual(['rotation_started', 'rotated']);
    expect(await eventsOf(never)).toEqual([]);
    scene.clock.advance(10);
    await runRotation();
    expect(await eventsOf(target)).toHaveLength(2);
  });

  it('is not needed for another connection with the same account and TLS settings, and only for such a one', async () => {
    await rotate(await createTarget()).expect(200);
    const { password: _, ...without } = connection;
    await expectWorks(await createTarget({ connection: without }));
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
    const target = await createTarget();
    scene.server.faults.isUnreachable = true;
    await rotate(target).expect(503);
    scene.server.faults.isUnreachable = false;
    scene.server.ownPasswords.set(connection.username, 'by hand');
    scene.clock.advance(31);
    await runRotation();
    expect(passwordInTarget()).toBe('by hand');
    await scene.admin
      .patch(`/v1/resources/${target.id}`, { connection: { ...connection, password: 'by hand' } })
      .expect(200);
    await expectWorks(target);
    // The rotation that had failed is finished with it.
    scene.clock.advance(31);
    await runRotation();
    expect(passwordInTarget()).toMatch(/^hpt_/);
    await expectWorks(target);
  });
});

describe('a rotation that fails', () => {
  it.each([
    ['before the target was reached', 'before'],
    ['after the target had the password', 'after'],
  ])('%s is finished by the worker, and loses no password', async (_when, when) => {
    const target = await createTarget();
    if (when === 'before') scene.server.faults.isUnreachable = true;
    else scene.server.faults.lostAfter.add('rotateAdminCredential');
    const refused = await rotate(target).expect(503);
    expect(refused.body.code).toBe('target-unavailable');
    expect(passwordInTarget() === adminPassword).toBe(when === 'before');
    await rotate(target).expect(409);
    scene.server.faults.isUnreachable = false;
    scene.server.faults.lostAfter.clear();
    scene.clock.advance(29);
    await runRotation();
    expect(await eventsOf(target)).toEqual(['rotation_started', 'rotation_failed']);
    scene.clock.advance(2);
    await runRotation();
    expect(await eventsOf(target)).toEqual(['rotation_started', 'rotation_failed', 'rotated']);
    expect(passwordInTarget()).toMatch(/^hpt_/);
    await expectWorks(target);
  });

  it.each([
    ['removes every other password', true],
    ['is finished although the target refuses to remove others', false],
  ])('after the target had the password %s', async (_what, canSetAgain) => {
    const target = await createTarget();
    const { faults, calls } = scene.server;
    faults.lostAfter.add('rotateAdminCredential');
    await rotate(target).expect(503);
    faults.lostAfter.clear();
    const callsBefore = calls.length;
    if (!canSetAgain) faults.missingPrivilege.add('rotateAdminCredential');
    scene.clock.advance(31);
    await runRotation();
    expect(calls.slice(callsBefore)).toContain('rotateAdminCredential');
    expect(await eventsOf(target)).toEqual(['rotation_started', 'rotation_failed', 'rotated']);
    await expectWorks(target);
  });

  it('because its event cannot be written is finished by the worker, with its event', async () => {
    const target = await createTarget();
    const undo = await failWrites(
      scene.broker.database,
      'insert on audit_events',
      "new.type = 'target.password_rotated'",
    );
    await rotate(target).expect(503);
    await undo();
    expect(passwordInTarget()).toMatch(/^hpt_/);
    scene.clock.advance(31);
    await runRotation();
    expect(await eventsOf(target)).toEqual(['rotation_started', 'rotated']);
    await expectWorks(target);
  });

  it('for a missing privilege says which, once, and is finished when the account has it', async () => {
    const target = await createTarget();
    scene.server.faults.missingPrivilege.add('rotateAdminCredential');
    await rotate(target).expect(503);
    for (let n = 0; n < 3; n += 1) {
      scene.clock.advance(31);
      await runRotation();
    }
    expect(await eventsOf(target)).toEqual(['rotation_started', 'rotation_failed']);
    const { rows } = await scene.broker.database.owner.query(
      "select details from audit_events where type = 'target.password_rotation_failed' and object_id = $1",
      [target.id],
    );
    expect(rows[0].details).toMatchObject({ statement: 'ALLOW rotateAdminCredential' });
    await expectWorks(target);
    scene.server.faults.missingPrivilege.clear();
    scene.clock.advance(31);
    await runRotation();
    await expectWorks(target);
    expect(passwordInTarget()).toMatch(/^hpt_/);
  });

  it('with its process is finished by another one, and a process that wakes up late changes nothing', async () => {
    const target = await createTarget();
    const before = scene.server.calls.length;
    const release = holdCalls(scene.server);
    const late = rotate(target).then((answer) => answer.status);
    await eventually(async () => expect(scene.server.calls.slice(before)).toContain('rotateAdminCredential'));
    scene.server.faults.hold = Promise.resolve();
    const second = await startScene({ ...scene, database: scene.broker.database });
    scene.clock.advance(31);
    await runRotation(second);
    const next = passwordInTarget();
    expect(next).toMatch(/^hpt_/);
    release();
    expect([409, 503]).toContain(await late);
    expect(passwordInTarget()).toBe(next);
    await expectWorks(target);
  });

  it('is not set back by a process that wakes up after the next one was set', async () => {
    const target = await createTarget();
    const before = scene.server.calls.length;
    const release = holdCalls(scene.server, 'holdAfterLogin');
    const late = rotate(target).then((answer) => answer.status);
    await eventually(async () => expect(scene.server.calls.slice(before)).toContain('rotateAdminCredential'));
    scene.server.faults.holdAfterLogin = Promise.resolve();
    const second = await startScene({ ...scene, database: scene.broker.database });
    scene.clock.advance(31);
    await runRotation(second);
    await rotate(target, second).expect(200);
    const newest = passwordInTarget();
    release();
    expect(await late).toBe(503);
    expect(passwordInTarget()).toBe(newest);
    await expectWorks(target);
  });

  it('is finished although another target that cannot be reached takes longer than one attempt may', async () => {
    const dead = await createTarget({ connection: { ...connection, host: 'a.internal' } });
    const well = await createTarget({ connection: { ...connection, host: 'b.internal' } });
    scene.server.faults.isUnreachable = true;
    await Promise.all([rotate(dead).expect(503), rotate(well).expect(503)]);
    scene.server.faults.isUnreachable = false;
    const { owner } = scene.broker.database;
    await owner.query('update connections set port = 1 where id = $1', [dead.connection.id]);
    scene.clock.advance(31);
    // The test of a target fails at once here; in this time a real one would have been waited for.
    scene.server.faults.onUnreachable = () => scene.clock.advance(25);
    await runRotation();
    expect(await eventsOf(well)).toContain('rotated');
    await expectWorks(well);
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
    const target = await createTarget();
    await createTarget();
    scene.server.faults.isUnreachable = true;
    await rotate(target).expect(503);
    scene.server.faults.isUnreachable = false;
    await scene.admin.patch(`/v1/resources/${target.id}`, { connection }).expect(200);
    scene.server.faults.lostAfter.add('rotateAdminCredential');
    scene.clock.advance(31);
    await runRotation();
    scene.server.faults.lostAfter.clear();
    scene.clock.advance(31);
    await runRotation();
    expect(passwordInTarget()).toMatch(/^hpt_/);
    await expectWorks(target);
  });

  it('does not keep the other targets from theirs', async () => {
    const due = { password_rotation_days: 1 };
    const dead = await createTarget({ connection: { ...connection, ...due, host: 'a.internal' } });
    const well = await createTarget({ connection: { ...connection, ...due, host: 'b.internal' } });
    const { owner } = scene.broker.database;
    await owner.query('update connections set port = 1 where id = $1', [dead.connection.id]);
    scene.clock.advance(86_400);
    await runRotation();
    expect(await eventsOf(dead)).toEqual(['rotation_started', 'rotation_failed']);
    expect(await eventsOf(well)).toEqual(['rotation_started', 'rotated']);
  });
});

describe('several at the same time', () => {
  it('of rotations: one is made, the others are refused', async () => {
    const target = await createTarget();
    const answers = await Promise.all([1, 2, 3, 4].map(() => rotate(target)));
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(0);
    expect(new Set(statuses)).toEqual(new Set([200, ...(statuses.includes(409) ? [409] : [])]));
    await expectWorks(target);
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
    const [answer] = await Promise.all([changed, rotate(resource)]);
    expect([200, 409, 422]).toContain(answer.status);
    await expectWorks(resource);
  });
});
