import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { maxLeases } from '../../src/leases/lease.ts';
import { createAgent, type TestAgent } from '../support/broker.ts';
import {
  beginLease,
  createTargetAndGrant,
  endDue,
  endFor,
  grantFor,
  insertLeases,
  readLease,
  type Scene,
  startScene,
} from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

beforeEach(async () => {
  scene.server.accounts.clear();
});

type Begun = Awaited<ReturnType<typeof beginLease>>;

describe('a lease that ends while its account is being made', () => {
  it.each([
    [
      'its grant is revoked',
      ({ grant }: Begun) => scene.admin.post(`/v1/grants/${grant.id}/revoke`, { reason: 'x' }),
    ],
    ['it is revoked', ({ lease }: Begun) => scene.admin.post(`/v1/leases/${lease.id}/revoke`)],
    ['its agent is disabled', ({ lease }: Begun) => scene.admin.post(`/v1/agents/${lease.agent_id}/disable`)],
    ['its resource is deleted', ({ resource }: Begun) => scene.admin.delete(`/v1/resources/${resource.id}`)],
  ])('never becomes active: %s', async (_what, end) => {
    const agent = await createAgent(scene.broker);
    const begun = await beginLease(scene, { agent });
    expect(begun.lease.status).toBe('creating');
    expect([200, 204]).toContain((await end(begun)).status);
    expect((await readLease(scene, begun.lease.id)).status).toBe('revoking');
    begun.release();
    const answer = await begun.answer;
    expect([answer.status, answer.body.code]).toEqual([409, 'grant-not-active']);
    expect(JSON.stringify(answer.body)).not.toContain('hpl_');
    expect(scene.server.accounts.size).toBe(1);
    await endDue(scene);
    expect(scene.server.accounts.size).toBe(0);
    await endFor(scene, 28);
    expect(await readLease(scene, begun.lease.id)).toMatchObject({
      status: 'revoked',
      activated_at: null,
      next_attempt_at: null,
    });
  });

  it('is destroyed again if its account is made after it was destroyed for the first time', async () => {
    const begun = await beginLease(scene);
    await scene.admin.post(`/v1/leases/${begun.lease.id}/revoke`).expect(200);
    await endDue(scene);
    expect(await readLease(scene, begun.lease.id)).toMatchObject({
      status: 'revoking',
      access_disabled_at: null,
    });
    begun.release();
    expect((await begun.answer).status).toBe(409);
    await endDue(scene);
    expect(scene.server.accounts.size).toBe(1);
    await endFor(scene, 28);
    expect(scene.server.accounts.size).toBe(0);
    expect((await readLease(scene, begun.lease.id)).status).toBe('revoked');
  });

  it('makes nothing when its account is made only after the deadline', async () => {
    const begun = await beginLease(scene);
    scene.clock.advance(20);
    begun.release();
    expect((await begun.answer).body.code).toBe('target-unavailable');
    expect(scene.server.accounts.size).toBe(0);
    await endFor(scene, 8);
    expect((await readLease(scene, begun.lease.id)).status).toBe('revoked');
  });

  it('does not become active in a process that stopped before the deadline and goes on after it', async () => {
    const begun = await beginLease(scene);
    const { account_name: name } = begun.lease;
    // What the target did before the deadline, while its answer took until after it.
    scene.server.accounts.set(name, {
      ...{ name, password: 'x', roles: [], canLogIn: true, expiresAt: null, sessions: [], owns: [] },
    });
    await endFor(scene, 20);
    expect(await readLease(scene, begun.lease.id)).toMatchObject({
      status: 'revoking',
      revoke_reason: 'its account was not made in time',
    });
    expect(scene.server.accounts.size).toBe(0);
    begun.release();
    expect((await begun.answer).status).toBe(503);
    await endFor(scene, 8);
    expect(await readLease(scene, begun.lease.id)).toMatchObject({ status: 'revoked', activated_at: null });
  });
});

describe('of 20 concurrent requests for the last lease that a limit permits, one succeeds', () => {
  async function raceForLast(callers: { grant: { id: string }; agent: TestAgent }[]): Promise<void> {
    const asking = callers.map(async ({ grant, agent }) => ({ api: await scene.as(agent), grant }));
    const requests = (await Promise.all(asking)).flatMap(({ api, grant }) =>
      Array.from({ length: 20 / callers.length }, async () => api.post('/v1/leases', { grant_id: grant.id })),
    );
    const answers = await Promise.all(requests);
    const codes = answers.map(({ status, body }) => (status === 201 ? 'made' : body.code));
    expect(codes.filter((code) => code === 'made')).toHaveLength(1);
    expect(codes.filter((code) => code === 'too-many-leases')).toHaveLength(19);
    expect(scene.server.accounts.size).toBe(1);
  }

  const clear = () => scene.broker.database.owner.query('truncate leases');

  it('of an agent at a resource', async () => {
    await clear();
    const { grant, resource } = await createTargetAndGrant(scene);
    await insertLeases(scene, { grant, count: maxLeases.ofAgent - 1 });
    const { agent } = scene;
    const other = await grantFor(scene, { resource, durationSeconds: 300 });
    await raceForLast([
      { grant, agent },
      { grant: other, agent },
    ]);
  });

  it('of a resource', async () => {
    await clear();
    const { grant, resource } = await createTargetAndGrant(scene);
    const [a, b] = [await createAgent(scene.broker), await createAgent(scene.broker)];
    await insertLeases(scene, { grant, count: maxLeases.ofResource - 1 });
    await raceForLast([
      { grant: await grantFor(scene, { resource, agent: a }), agent: a },
      { grant: await grantFor(scene, { resource, agent: b }), agent: b },
    ]);
  });

  it('in total', async () => {
    await clear();
    const { grant } = await createTargetAndGrant(scene);
    await insertLeases(scene, { grant, count: maxLeases.total - 1 });
    const [a, b] = [await createAgent(scene.broker), await createAgent(scene.broker)];
    await raceForLast([
      { grant: (await createTargetAndGrant(scene, { agent: a })).grant, agent: a },
      { grant: (await createTargetAndGrant(scene, { agent: b })).grant, agent: b },
    ]);
    await clear();
  });
});

describe('two replicas', () => {
  it('end 200 leases that are due at the same time without doing any twice', async () => {
    await scene.broker.database.owner.query('truncate leases');
    const { database } = scene.broker;
    const second = await startScene({ database, clock: scene.clock, server: scene.server });
    const { grant } = await createTargetAndGrant(scene);
    const ids = await insertLeases(scene, { grant, count: 200 });
    scene.clock.advance(600);
    const before = scene.server.calls.length;
    await Promise.all([endDue(scene), endDue(second)]);
    await Promise.all([endDue(scene), endDue(second)]);
    const calls = scene.server.calls.slice(before);
    for (const name of ['disableAccess', 'endSessions', 'cleanUp']) {
      expect(calls.filter((call) => call === name)).toHaveLength(200);
    }
    const { rows } = await database.owner.query(
      `select type, count(*)::int as count from audit_events where object_id = any ($1) group by type order by type`,
      [ids],
    );
    expect(rows).toEqual([
      { type: 'lease.cleaned_up', count: 200 },
      { type: 'lease.revoked', count: 200 },
      { type: 'lease.revoking', count: 200 },
    ]);
  });
});
