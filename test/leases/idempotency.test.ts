import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { failWrites } from '../oauth/fixtures.ts';
import { createAgent } from '../support/broker.ts';
import { beginLease, createTargetAndGrant, endDue, endFor, type Scene, startScene } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

beforeEach(async () => {
  const { accounts, faults } = scene.server;
  accounts.clear();
  faults.isUnreachable = false;
  faults.lostAfter.clear();
});

let keys = 0;

const nextKey = (): string => {
  keys += 1;
  return `key-${keys}`;
};

async function ask({ id }: { id: string }, key: string, more: object = {}) {
  const api = await scene.as();
  return api.post('/v1/leases', { grant_id: id, ...more }).set('Idempotency-Key', key);
}

describe('a repeated request with the same Idempotency-Key', () => {
  it.each([
    ['could not be reached', () => Object.assign(scene.server.faults, { isUnreachable: true })],
    ['was lost after it made the account', () => scene.server.faults.lostAfter.add('create')],
  ])('makes a lease if the target of the first one %s', async (_what, fail) => {
    const { grant } = await createTargetAndGrant(scene);
    const key = nextKey();
    fail();
    expect((await ask(grant, key)).body.code).toBe('target-unavailable');
    expect((await ask(grant, key)).body.code).toBe('target-unavailable');
    scene.server.faults.isUnreachable = false;
    scene.server.faults.lostAfter.clear();
    // What the answer asks for: until then the target is left alone.
    scene.clock.advance(5);
    const made = await ask(grant, key);
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ status: 'active', credential: { username: made.body.account_name } });
    const again = await ask(grant, key);
    expect([again.status, again.body.id]).toEqual([200, made.body.id]);
    await endFor(scene, 28);
    expect([...scene.server.accounts.keys()]).toEqual([made.body.account_name]);
  });

  it('makes one lease, however many of them are sent at the same time after the first has failed', async () => {
    const { grant } = await createTargetAndGrant(scene);
    const key = nextKey();
    scene.server.faults.isUnreachable = true;
    await ask(grant, key);
    scene.server.faults.isUnreachable = false;
    scene.clock.advance(5);
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(grant, key)));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    expect(scene.server.accounts.size).toBe(1);
  });

  it('with another body is refused also after the first has failed', async () => {
    const { grant } = await createTargetAndGrant(scene);
    const key = nextKey();
    scene.server.faults.isUnreachable = true;
    await ask(grant, key);
    scene.server.faults.isUnreachable = false;
    expect((await ask(grant, key, { ttl_seconds: 5 })).body.code).toBe('idempotency-key-reused');
  });

  it('returns the lease of the first one while that is not decided', async () => {
    const key = nextKey();
    const begun = await beginLease(scene, { key });
    const again = await ask(begun.grant, key);
    expect([again.status, again.body.status, again.body.id]).toEqual([200, 'creating', begun.lease.id]);
    begun.release();
    expect((await begun.answer).status).toBe(201);
  });

  it('makes a lease when the process of the first one has died, after its deadline', async () => {
    const { grant } = await createTargetAndGrant(scene);
    const key = nextKey();
    const { database } = scene.broker;
    const undo = await failWrites(database, 'insert on audit_events', "new.type = 'lease.activated'");
    expect((await ask(grant, key)).status).toBeGreaterThanOrEqual(500);
    await undo();
    await endFor(scene, 20);
    expect((await ask(grant, key)).status).toBe(201);
  });

  it('returns a lease that was active, also when it has ended', async () => {
    const { grant } = await createTargetAndGrant(scene);
    const key = nextKey();
    const made = (await ask(grant, key)).body;
    await scene.admin.post(`/v1/leases/${made.id}/revoke`).expect(200);
    await endDue(scene);
    const again = await ask(grant, key);
    expect([again.status, again.body.id, again.body.status]).toEqual([200, made.id, 'revoked']);
    expect(scene.server.accounts.size).toBe(0);
  });

  it('of another agent makes a lease of its own', async () => {
    const agent = await createAgent(scene.broker);
    const key = nextKey();
    const first = await ask((await createTargetAndGrant(scene)).grant, key);
    const { grant } = await createTargetAndGrant(scene, { agent });
    const api = await scene.as(agent);
    const second = await api.post('/v1/leases', { grant_id: grant.id }).set('Idempotency-Key', key);
    expect(second.status).toBe(201);
    expect(second.body.id).not.toBe(first.body.id);
  });
});
