import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createEnvelope } from '../../src/crypto/envelope.ts';
import { MasterKey } from '../../src/crypto/master-key.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { passwordPlace } from '../../src/resources/connections/targets.ts';
import { testMasterKey } from '../support/broker.ts';
import {
  adminPassword,
  connection,
  createLease,
  createTargetAndGrant,
  endDue,
  endFor,
  readLease,
  runJob,
  type Scene,
  startScene,
  targetBody,
} from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

beforeEach(() => {
  const { accounts, faults } = scene.server;
  accounts.clear();
  faults.isUnreachable = false;
  for (const calls of [faults.lostAfter, faults.missingPrivilege, faults.withoutEffect]) calls.clear();
});

async function rowsOf(table: string, where = 'true', values: unknown[] = []) {
  return (await scene.broker.database.owner.query(`select * from ${table} where ${where}`, values)).rows;
}

const hasConnection = async (id: string) => (await rowsOf('connections', 'id = $1', [id])).length === 1;

describe('a connection that nothing uses', () => {
  it.each([
    [
      'is replaced',
      ({ resource }: Made) => scene.admin.patch(`/v1/resources/${resource.id}`, { connection }).expect(200),
    ],
    ['was deleted', ({ resource }: Made) => scene.admin.delete(`/v1/resources/${resource.id}`).expect(204)],
  ])('is deleted when its resource %s, after the accounts that were made through it', async (_what, end) => {
    const made = await createLease(scene);
    const { id } = made.resource.connection;
    scene.server.accounts.get(made.lease.account_name)?.owns.push('table t');
    await end(made);
    await scene.admin.post(`/v1/leases/${made.lease.id}/revoke`).expect(200);
    scene.clock.advance(3_601);
    await endDue(scene);
    await runJob(scene, 'clean-up-targets');
    expect(await readLease(scene, made.lease.id)).toMatchObject({ status: 'revoked', cleaned_up_at: null });
    expect(await hasConnection(id)).toBe(true);
    scene.server.accounts.get(made.lease.account_name)?.owns.pop();
    scene.clock.advance(3_600);
    await endDue(scene);
    await runJob(scene, 'clean-up-targets');
    expect(await hasConnection(id)).toBe(false);
  });

  it('is kept for an hour, because a resource may begin to use it, and while a resource uses it', async () => {
    scene.server.faults.missingPrivilege.add('findProblems');
    await scene.admin.post('/v1/resources', targetBody()).expect(422);
    scene.server.faults.missingPrivilege.clear();
    const { resource } = await createTargetAndGrant(scene);
    const refused = () => rowsOf('connections', 'resource_id not in (select id from resources)');
    expect(await refused()).toHaveLength(1);
    scene.clock.advance(3_540);
    await runJob(scene, 'clean-up-targets');
    expect(await refused()).toHaveLength(1);
    scene.clock.advance(120);
    await runJob(scene, 'clean-up-targets');
    expect(await refused()).toHaveLength(0);
    expect(await hasConnection(resource.connection.id)).toBe(true);
  });

  it('is deleted with its password also if its target can never be reached', async () => {
    await scene.admin
      .post('/v1/resources', targetBody({ connection: { ...connection, port: 1 } }))
      .expect(422);
    const dead = () => rowsOf('connections', 'port = 1');
    expect(await dead()).toHaveLength(1);
    scene.clock.advance(3_660);
    await runJob(scene, 'clean-up-targets');
    expect(await dead()).toHaveLength(0);
    expect(await rowsOf('preflights')).toEqual([]);
  });
});

type Made = Awaited<ReturnType<typeof createLease>>;

describe('the password of a connection', () => {
  it('is encrypted again with a new master key, and then needs the old one no more', async () => {
    const { lease, resource } = await createLease(scene);
    const { database } = scene.broker;
    const masterKey = new MasterKey(Buffer.alloc(32, 9));
    const shared = { database, clock: scene.clock, server: scene.server };
    const rotating = await startScene({ ...shared, config: { masterKey, oldMasterKeys: [testMasterKey] } });
    scene.clock.advance(60);
    await runJob(rotating, 'rotate-keys');
    const envelope = createEnvelope({ current: masterKey, old: [], random: createSystemRandom() });
    for (const { id, password_sealed: sealed } of await rowsOf('connections')) {
      expect(envelope.open(sealed, passwordPlace(id)).toString()).toBe(adminPassword);
    }
    const after = await startScene({ ...shared, config: { masterKey, oldMasterKeys: [] } });
    await after.admin.post(`/v1/leases/${lease.id}/revoke`).expect(200);
    await endDue(after);
    expect((await readLease(after, lease.id)).status).toBe('revoked');
    await after.admin.post(`/v1/resources/${resource.id}/preflight`).expect(200);
    // The first scene goes on with its old key.
    scene = after;
  });

  it('cannot be moved to another connection, where another target would get it', async () => {
    const victim = await createTargetAndGrant(scene);
    const thief = await createTargetAndGrant(scene);
    const { owner } = scene.broker.database;
    const before = await rowsOf('connections', 'id = $1', [thief.resource.connection.id]);
    await owner.query(
      `update connections set password_sealed = (select password_sealed from connections where id = $1) where id = $2`,
      [victim.resource.connection.id, thief.resource.connection.id],
    );
    const fresh = await startScene({
      database: scene.broker.database,
      clock: scene.clock,
      server: scene.server,
      config: { masterKey: new MasterKey(Buffer.alloc(32, 9)) },
    });
    const calls = scene.server.calls.length;
    const { status, body } = await (await fresh.as(scene.agent)).post('/v1/leases', {
      grant_id: thief.grant.id,
    });
    expect(status).toBeGreaterThanOrEqual(500);
    expect(JSON.stringify(body)).not.toContain('hpl_');
    expect(scene.server.calls.slice(calls)).toEqual([]);
    await owner.query('update connections set password_sealed = $1 where id = $2', [
      before[0]?.password_sealed,
      thief.resource.connection.id,
    ]);
    await endFor(scene, 40);
    expect(scene.server.accounts.size).toBe(0);
  });
});
