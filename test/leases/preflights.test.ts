import { beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { engines } from '../../src/engines/engines.ts';
import { asBootstrap, startBroker } from '../support/broker.ts';
import { createTargetAndGrant, runJob, type Scene, startScene, targetBody } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

beforeEach(async () => {
  const { accounts, faults } = scene.server;
  accounts.clear();
  faults.isUnreachable = false;
  for (const calls of [faults.lostAfter, faults.missingPrivilege, faults.withoutEffect]) calls.clear();
  // Nothing that an earlier test has made is due.
  const { owner } = scene.broker.database;
  await owner.query('update resources set deleted_at = now(), connection_id = null');
  await owner.query('delete from preflights');
  scene.clock.advance(86_400);
});

const left = async () =>
  (await scene.broker.database.owner.query('select * from preflights order by account_name')).rows;

/** Returns the audit events of tests of a target, oldest first. */
async function eventsOf(resource: { id: string }): Promise<string[]> {
  const { rows } = await scene.broker.database.owner.query<{ type: string }>(
    `select type from audit_events where object_id = $1 and type like 'preflight.%' order by at, id`,
    [resource.id],
  );
  return rows.map(({ type }) => type);
}

const read = async (resource: { id: string }) =>
  (await scene.admin.get(`/v1/resources/${resource.id}`).expect(200)).body;

async function failTest(scope: 'create' | 'cleanUp'): Promise<void> {
  scene.server.faults.lostAfter.add(scope);
  await scene.admin.post('/v1/resources', targetBody()).expect(422);
}

describe('the account of a test', () => {
  it('has a row before it is made, and as long as it may exist', async () => {
    scene.server.faults.missingPrivilege.add('create');
    scene.server.faults.missingPrivilege.add('cleanUp');
    await scene.admin.post('/v1/resources', targetBody()).expect(422);
    expect(await left()).toHaveLength(1);
    scene.server.faults.missingPrivilege.clear();
    scene.clock.advance(60);
    await runJob(scene, 'clean-up-targets');
    expect(await left()).toEqual([]);
    await scene.admin.post('/v1/resources', targetBody()).expect(201);
    expect(await left()).toEqual([]);
    expect(scene.server.accounts.size).toBe(0);
  });

  it('that a process left which died is destroyed by a job, after the time in which it may be made', async () => {
    const { resource } = await createTargetAndGrant(scene);
    const name = 'hp_aaaaaaaa_left';
    const session = { isOpen: true };
    scene.server.accounts.set(name, {
      ...{ name, password: 'x', roles: [], canLogIn: true, expiresAt: null, sessions: [session], owns: [] },
    });
    await scene.broker.database.owner.query(
      `insert into preflights (account_name, connection_id, deadline_at, next_attempt_at) values ($1, $2, $3, $3)`,
      [name, resource.connection.id, new Date(scene.clock.now().getTime() + 60_000)],
    );
    scene.clock.advance(30);
    await runJob(scene, 'clean-up-targets');
    expect(scene.server.accounts.size).toBe(1);
    scene.clock.advance(30);
    await runJob(scene, 'clean-up-targets');
    expect(scene.server.accounts.size).toBe(0);
    expect(session.isOpen).toBe(false);
    expect(await left()).toEqual([]);
  });

  it.each([
    'disableAccess',
    'endSessions',
    'cleanUp',
  ] as const)('that cannot be destroyed is tried again until it is gone: %s fails', async (call) => {
    await failTest('create');
    scene.server.faults.lostAfter.add(call);
    for (let minute = 0; minute < 10; minute += 1) {
      scene.clock.advance(60);
      await runJob(scene, 'clean-up-targets');
    }
    const [row] = await left();
    expect(row).toMatchObject({ last_error: 'unreachable: connection lost' });
    expect(row.attempts).toBeGreaterThan(3);
    scene.server.faults.lostAfter.clear();
    scene.clock.advance(300);
    await runJob(scene, 'clean-up-targets');
    expect(await left()).toEqual([]);
    expect(scene.server.accounts.size).toBe(0);
  });

  it('keeps the connection through which it is destroyed', async () => {
    await failTest('create');
    scene.server.faults.isUnreachable = true;
    scene.clock.advance(86_400);
    await runJob(scene, 'clean-up-targets');
    const [row] = await left();
    const { rows } = await scene.broker.database.owner.query('select from connections where id = $1', [
      row.connection_id,
    ]);
    expect(rows).toHaveLength(1);
  });
});

describe('the daily test of a target', () => {
  const runDaily = (): Promise<void> => runJob(scene, 'test-targets');

  it('records once that it fails, and once that it passes again', async () => {
    const { resource } = await createTargetAndGrant(scene);
    scene.clock.advance(86_400);
    await runDaily();
    expect(await eventsOf(resource)).toEqual([]);
    scene.server.faults.missingPrivilege.add('endSessions');
    for (let day = 0; day < 3; day += 1) {
      scene.clock.advance(86_400);
      await runDaily();
    }
    expect(await eventsOf(resource)).toEqual(['preflight.failed']);
    expect((await read(resource)).preflight.problems).not.toEqual([]);
    scene.server.faults.missingPrivilege.clear();
    scene.clock.advance(86_400);
    await runDaily();
    expect(await eventsOf(resource)).toEqual(['preflight.failed', 'preflight.passed']);
  });

  it('is repeated after a minute while it fails, so that an outage does not stop leases for a day', async () => {
    const { resource } = await createTargetAndGrant(scene);
    scene.clock.advance(86_400);
    scene.server.faults.isUnreachable = true;
    await runDaily();
    expect((await read(resource)).preflight.problems).toHaveLength(1);
    scene.server.faults.isUnreachable = false;
    scene.clock.advance(60);
    await runDaily();
    expect((await read(resource)).preflight.problems).toEqual([]);
  });

  it('tests the others if one connection cannot be opened', async () => {
    const broken = (await createTargetAndGrant(scene)).resource;
    scene.clock.advance(1);
    const { resource } = await createTargetAndGrant(scene);
    await scene.broker.database.owner.query("update connections set password_sealed = 'x' where id = $1", [
      broken.connection.id,
    ]);
    const fresh = await startScene({
      database: scene.broker.database,
      clock: scene.clock,
      server: scene.server,
    });
    scene.clock.advance(86_400);
    await fresh.broker.worker.register();
    await fresh.broker.worker.runNow('test-targets', scene.clock.now());
    expect((await read(resource)).preflight.at).toBe(scene.clock.now().toISOString());
    expect((await read(broken)).preflight.problems).toEqual([
      { problem: expect.stringContaining('master key'), statement: null },
    ]);
  });

  it('tests a target no more whose resource was deleted', async () => {
    const { resource } = await createTargetAndGrant(scene);
    await scene.admin.delete(`/v1/resources/${resource.id}`).expect(204);
    const before = scene.server.calls.length;
    scene.clock.advance(86_400);
    await runDaily();
    expect(scene.server.calls.slice(before)).toEqual([]);
  });
});

describe("the broker's own database", () => {
  it.each(['127.0.0.1', 'localhost'])('is refused as a target, at %s', async (host) => {
    const broker = await startBroker({ clock: scene.clock, overrides: { engines } });
    const { port, username, password } = new URL(inject('server').adminUrl);
    const own = { host, port: Number(port), username, database: 'postgres', tls: { mode: 'off' } };
    const body = targetBody({ connection: { ...own, password: decodeURIComponent(password) || 'none' } });
    const refused = await asBootstrap(broker).post('/v1/resources', body).expect(422);
    expect(refused.body).toMatchObject({
      code: 'target-not-usable',
      problems: [{ problem: expect.stringContaining("the broker's own database") }],
    });
    // Other test files make accounts of other installations on this server.
    const { rows } = await broker.database.owner.query(
      "select from pg_roles where starts_with(rolname, 'hp_' || (select id from installation))",
    );
    expect(rows).toEqual([]);
  });
});
