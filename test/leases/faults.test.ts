import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { failWrites } from '../oauth/fixtures.ts';
import { eventually } from '../support/eventually.ts';
import {
  adminPassword,
  createLease,
  createTargetAndGrant,
  endDue,
  endFor,
  holdCalls,
  insertLeases,
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

const onlyLease = async () => (await scene.admin.get('/v1/leases').expect(200)).body.items[0];

async function ask(grant: { id: string }) {
  const api = await scene.as();
  return api.post('/v1/leases', { grant_id: grant.id });
}

async function revoke({ id }: { id: string }): Promise<void> {
  await scene.admin.post(`/v1/leases/${id}/revoke`).expect(200);
}

describe('a target that fails while an account is made', () => {
  it('makes no lease if it cannot be reached, and leaves nothing', async () => {
    const { grant } = await createTargetAndGrant(scene);
    scene.server.faults.isUnreachable = true;
    const answer = await ask(grant);
    expect([answer.status, answer.body.code]).toEqual([503, 'target-unavailable']);
    expect(answer.headers['retry-after']).toBe('5');
    expect((await onlyLease()).status).toBe('revoking');
    // The next request is refused before anything is recorded, so that leases that cannot be made fill no limit.
    const next = await ask(grant);
    expect([next.status, next.body.code]).toEqual([503, 'target-unavailable']);
    expect((await onlyLease()).status).toBe('revoking');
    scene.server.faults.isUnreachable = false;
    await endFor(scene, 28);
    expect(await onlyLease()).toMatchObject({ status: 'revoked', activated_at: null, next_attempt_at: null });
  });

  it('leaves no account if its connection is lost after it has made the account', async () => {
    const { grant } = await createTargetAndGrant(scene);
    scene.server.faults.lostAfter.add('create');
    expect((await ask(grant)).body.code).toBe('target-unavailable');
    expect(scene.server.accounts.size).toBe(1);
    await endDue(scene);
    expect(scene.server.accounts.size).toBe(0);
    await endFor(scene, 28);
    expect((await onlyLease()).status).toBe('revoked');
  });
});

describe('a lease whose audit event cannot be written', () => {
  it.each([
    ['lease.requested', 0],
    ['lease.activated', 1],
  ])('is not issued: %s', async (type, made) => {
    const { grant } = await createTargetAndGrant(scene);
    const undo = await failWrites(scene.broker.database, 'insert on audit_events', `new.type = '${type}'`);
    const answer = await ask(grant);
    await undo();
    expect(answer.status).toBeGreaterThanOrEqual(500);
    expect(JSON.stringify(answer.body)).not.toContain('hpl_');
    expect(scene.server.accounts.size).toBe(made);
    await endFor(scene, 28);
    expect(scene.server.accounts.size).toBe(0);
    if (made === 1) expect(await onlyLease()).toMatchObject({ status: 'revoked', activated_at: null });
  });

  it('is not revoked by a request, and revoked by the next one', async () => {
    const { lease } = await createLease(scene);
    const undo = await failWrites(
      scene.broker.database,
      'insert on audit_events',
      "new.type = 'lease.revoking'",
    );
    expect((await scene.admin.post(`/v1/leases/${lease.id}/revoke`)).status).toBeGreaterThanOrEqual(500);
    await undo();
    expect((await readLease(scene, lease.id)).status).toBe('active');
    await revoke(lease);
    await endDue(scene);
    expect((await readLease(scene, lease.id)).status).toBe('revoked');
  });

  it('loses its access all the same, and the event is written when it can be', async () => {
    const { lease } = await createLease(scene);
    await revoke(lease);
    const undo = await failWrites(
      scene.broker.database,
      'insert on audit_events',
      "new.type = 'lease.revoked'",
    );
    await endDue(scene);
    expect(scene.server.accounts.get(lease.account_name)?.canLogIn).toBe(false);
    expect((await readLease(scene, lease.id)).status).toBe('revoking');
    await undo();
    await endFor(scene, 26);
    expect((await readLease(scene, lease.id)).status).toBe('revoked');
  });
});

describe('a target that fails while a lease is ended', () => {
  it.each([
    'disableAccess',
    'endSessions',
    'cleanUp',
  ] as const)('is tried again after its connection is lost after %s', async (call) => {
    const { lease } = await createLease(scene);
    await revoke(lease);
    scene.server.faults.lostAfter.add(call);
    await endDue(scene);
    // Its agent learns the kind of failure alone: the text may name accounts and addresses of the target.
    const seen = await (await scene.as()).get(`/v1/leases/${lease.id}`).expect(200);
    expect(seen.body.last_error).toBe('unreachable');
    expect(await readLease(scene, lease.id)).toMatchObject({
      attempts: 1,
      last_error: 'unreachable: connection lost',
      cleaned_up_at: null,
    });
    await endFor(scene, 30);
    scene.server.faults.lostAfter.clear();
    await endFor(scene, 25);
    expect(await readLease(scene, lease.id)).toMatchObject({
      status: 'revoked',
      next_attempt_at: null,
      last_error: null,
      attempts: 0,
    });
    expect(scene.server.accounts.size).toBe(0);
  });

  it('for an hour has no access left 15 s after it is back, and shows meanwhile what is wrong', async () => {
    const made = [await createLease(scene), await createLease(scene), await createLease(scene)];
    for (const { lease } of made) await revoke(lease);
    scene.server.faults.isUnreachable = true;
    await endFor(scene, 60);
    for (let minute = 0; minute < 59; minute += 1) {
      scene.clock.advance(60);
      await endDue(scene);
    }
    const seen = await readLease(scene, made[0]?.lease.id);
    expect(seen).toMatchObject({ status: 'revoking', last_error: 'unreachable: connection refused' });
    expect(seen.attempts).toBeGreaterThan(10);
    const wait = Date.parse(seen.next_attempt_at) - scene.clock.now().getTime();
    expect(wait).toBeLessThanOrEqual(15_000);
    expect(JSON.stringify(seen)).not.toMatch(new RegExp(`hpl_|${adminPassword}`));
    scene.server.faults.isUnreachable = false;
    await endFor(scene, 15);
    expect(scene.server.accounts.size).toBe(0);
    for (const { lease } of made) expect((await readLease(scene, lease.id)).status).toBe('revoked');
  });

  it('delays no other target, whether it refuses or does not answer', async () => {
    const dead = await createLease(scene);
    const other = await createLease(scene);
    const owner = scene.broker.database.owner;
    // The fake engine refuses every connection to port 1.
    await owner.query('update connections set port = 1 where id = $1', [dead.resource.connection.id]);
    const second = await startScene({ ...scene, database: scene.broker.database });
    await revoke(dead.lease);
    await revoke(other.lease);
    await endDue(second);
    expect((await readLease(scene, dead.lease.id)).last_error).toContain('unreachable');
    expect((await readLease(scene, other.lease.id)).status).toBe('revoked');

    const hanging = await createLease(scene);
    const another = await createLease(scene);
    await revoke(hanging.lease);
    const release = holdCalls(scene.server);
    const before = scene.server.calls.length;
    const held = endDue(scene);
    await eventually(async () => expect(scene.server.calls.slice(before)).toContain('disableAccess'));
    scene.server.faults.hold = Promise.resolve();
    await revoke(another.lease);
    await Promise.race([held, endDue(scene)]);
    await eventually(async () => expect((await readLease(scene, another.lease.id)).status).toBe('revoked'));
    expect((await readLease(scene, hanging.lease.id)).status).toBe('revoking');
    release();
    await held;
  });
});

describe('a broker process that died', () => {
  it.each([
    ['before it made the account', false],
    ['after it made the account', true],
  ])('%s leaves nothing', async (_when, isMade) => {
    const { grant } = await createTargetAndGrant(scene);
    const [id = ''] = await insertLeases(scene, {
      grant,
      count: 1,
      status: 'creating',
      change: { next_attempt_at: `'${scene.clock.now().toISOString()}'::timestamptz + interval '20 s'` },
    });
    const { account_name: name } = await readLease(scene, id);
    const account = {
      name,
      password: 'x',
      roles: [],
      canLogIn: true,
      expiresAt: null,
      sessions: [],
      owns: [],
    };
    if (isMade) scene.server.accounts.set(name, account);
    await endFor(scene, 19);
    expect((await readLease(scene, id)).status).toBe('creating');
    await endFor(scene, 1);
    expect(scene.server.accounts.size).toBe(0);
    await endFor(scene, 8);
    expect(await readLease(scene, id)).toMatchObject({ status: 'revoked', activated_at: null });
  });

  it('while it ended a lease is replaced by another one after 6 s', async () => {
    const { lease } = await createLease(scene);
    await revoke(lease);
    holdCalls(scene.server);
    const before = scene.server.calls.length;
    void endDue(scene);
    await eventually(async () => expect(scene.server.calls.slice(before)).toContain('disableAccess'));
    scene.server.faults.hold = Promise.resolve();
    const second = await startScene({ ...scene, database: scene.broker.database });
    scene.clock.advance(6);
    await endDue(second);
    expect((await readLease(scene, lease.id)).status).toBe('revoked');
    expect(scene.server.accounts.size).toBe(0);
  });
});
