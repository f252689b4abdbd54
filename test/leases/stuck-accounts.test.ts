import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { TargetFailure } from '../../src/engines/target-failure.ts';
import { eventually } from '../support/eventually.ts';
import {
  createLease,
  createTargetAndGrant,
  endDue,
  endFor,
  grantFor,
  holdCalls,
  readLease,
  resetTarget,
  type Scene,
  startScene,
} from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

beforeEach(() => resetTarget(scene));

async function ask(grant: { id: string }) {
  const api = await scene.as();
  return api.post('/v1/leases', { grant_id: grant.id });
}

async function revoke({ id }: { id: string }): Promise<void> {
  await scene.admin.post(`/v1/leases/${id}/revoke`).expect(200);
}

describe('an account that cannot be ended', () => {
  const slow = new TargetFailure('timed-out', 'canceling statement due to lock timeout');

  async function createLeases(count: number) {
    const { resource, grant } = await createTargetAndGrant(scene);
    const leases = [];
    for (let n = 0; n < count; n += 1) {
      const own = n === 0 ? grant : await grantFor(scene, { resource, durationSeconds: 600 - n });
      leases.push((await ask(own)).body);
    }
    return { leases, grant, resource };
  }

  it('does not make its target look as if it could not be reached: the others there end at once', async () => {
    const { leases } = await createLeases(9);
    const [first, ...others] = leases;
    scene.server.faults.stuck.set(first.account_name, slow);
    for (const lease of leases) await revoke(lease);
    await endDue(scene);
    for (const { id } of others) expect((await readLease(scene, id)).status).toBe('revoked');
    expect(await readLease(scene, first.id)).toMatchObject({
      status: 'revoking',
      last_error: 'timed-out: canceling statement due to lock timeout',
    });
    scene.server.faults.stuck.clear();
    await endFor(scene, 15);
    expect(scene.server.accounts.size).toBe(0);
  });

  it('is tried again at least every 15 s until it has no access, for any reason', async () => {
    const { lease } = await createLease(scene);
    scene.server.faults.missingPrivilege.add('disableAccess');
    await revoke(lease);
    for (let n = 0; n < 40; n += 1) await endFor(scene, 15);
    scene.server.faults.missingPrivilege.clear();
    await endFor(scene, 15);
    expect((await readLease(scene, lease.id)).status).toBe('revoked');
  });

  it('delays no other end of access at its target while a call for it takes long', async () => {
    const { leases } = await createLeases(2);
    const [hanging, due] = leases;
    await revoke(hanging);
    const release = holdCalls(scene.server);
    const before = scene.server.calls.length;
    const held = endDue(scene);
    await eventually(async () => expect(scene.server.calls.slice(before)).toEqual(['disableAccess']));
    scene.server.faults.hold = Promise.resolve();
    await revoke(due);
    const other = endDue(scene);
    await eventually(async () => expect((await readLease(scene, due.id)).access_disabled_at).not.toBeNull(), {
      seconds: 5,
    }).finally(release);
    await Promise.all([held, other]);
  });

  it('delays no other end of access at its target while it is being cleaned up', async () => {
    const { leases } = await createLeases(2);
    const [cleaned, due] = leases;
    await revoke(cleaned);
    scene.server.faults.missingPrivilege.add('cleanUp');
    await endDue(scene);
    scene.server.faults.missingPrivilege.clear();
    const release = holdCalls(scene.server);
    const before = scene.server.calls.length;
    scene.clock.advance(2);
    const held = endDue(scene);
    await eventually(async () => expect(scene.server.calls.slice(before)).toEqual(['cleanUp']));
    scene.server.faults.hold = Promise.resolve();
    await revoke(due);
    const other = endDue(scene);
    await eventually(
      async () => expect(scene.server.accounts.get(due.account_name)?.canLogIn).not.toBe(true),
      { seconds: 5 },
    ).finally(release);
    await Promise.all([held, other]);
  });

  it('keeps the list of what it owns while it cannot be looked at', async () => {
    const { lease } = await createLease(scene);
    const account = scene.server.accounts.get(lease.account_name);
    account?.owns.push('table report');
    await revoke(lease);
    await endDue(scene);
    scene.server.faults.isUnreachable = true;
    await endFor(scene, 1);
    scene.clock.advance(3_600);
    await endDue(scene);
    expect(await readLease(scene, lease.id)).toMatchObject({
      last_error: 'unreachable: connection refused',
      owned_objects: ['table report'],
    });
  });
});
