import { beforeAll, describe, expect, it } from 'vitest';
import { eventLimits } from '../../src/audit/bounded-event.ts';
import {
  type Api,
  agentOf,
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  grantRequest,
  readAtOnce,
  startBroker,
  type TestAgent,
  type TestBroker,
  type TestPerson,
} from '../support/broker.ts';
import { countEvents } from '../support/count.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let broker: TestBroker;
let agent: TestAgent;
let api: Api;
let approver: TestPerson;
let resource: { id: string; identifier: string };

beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, readAtOnce);
  approver = await createPerson(broker, { roles: ['approver'] });
  resource = await createResource(broker);
});

async function make(scope: 'read' | 'write') {
  agent ??= await createAgent(broker);
  api = await agent.api();
  const made = await api.post('/v1/grants', grantRequest(resource.identifier, { scopes: [scope] }));
  expect(made.status).toBe(scope === 'read' ? 201 : 202);
  return { id: made.body.id as string, path: `/v1/grants/${made.body.id}`, digest: made.body.request_digest };
}

const reason = { reason: 'over' };
type Grant = Awaited<ReturnType<typeof make>>;
const acts: Record<string, (grant: Grant) => ReturnType<Api['post']>> = {
  approve: ({ path, digest }) => approver.api.post(`${path}/approve`, { request_digest: digest }),
  deny: ({ path }) => approver.api.post(`${path}/deny`, reason),
  cancel: ({ path }) => api.post(`${path}/cancel`),
  return: ({ path }) => api.post(`${path}/return`),
  revoke: ({ path }) => asBootstrap(broker).post(`${path}/revoke`, reason),
};
const act = (name: string, grant: Grant) => {
  const call = acts[name];
  if (call === undefined) throw new Error(name);
  return call(grant);
};

describe('a grant that is ended by a decision', () => {
  it.each([
    ['pending', 'deny', 'denied', 'grant.denied'],
    ['pending', 'cancel', 'cancelled', 'grant.cancelled'],
    ['pending', 'revoke', 'denied', 'grant.denied'],
    ['active', 'return', 'returned', 'grant.returned'],
    ['active', 'revoke', 'revoked', 'grant.revoked'],
  ] as const)('that is %s: %s makes it %s permanently, with one event', async (state, name, expected, type) => {
    const grant = await make(state === 'pending' ? 'write' : 'read');
    const ended = await act(name, grant).expect(200);
    expect(ended.body).toMatchObject({ status: expected, ended_at: clock.now().toISOString() });
    expect(ended.body.ended_by).toMatch(name === 'cancel' || name === 'return' ? /^agt_/ : /^adm_/);
    expect(await countEvents(broker.database, type, { grantId: grant.id })).toBe(1);
    for (const again of Object.keys(acts)) {
      const refused = await act(again, grant).expect(409);
      expect(refused.body.code).toMatch(/^grant-not-(pending|active)$/);
    }
    expect((await api.get(grant.path).expect(200)).body.status).toBe(expected);
  });

  it('is 409 in a state that does not allow it', async () => {
    const waiting = await make('write');
    await act('return', waiting).expect(409);
    const active = await make('read');
    for (const name of ['deny', 'cancel', 'approve']) {
      expect((await act(name, active).expect(409)).body.code).toBe('grant-not-pending');
    }
  });

  it('cannot be ended by an auditor, and a revocation needs a reason', async () => {
    const grant = await make('read');
    const auditor = await createPerson(broker, { roles: ['auditor'] });
    await auditor.api.post(`${grant.path}/revoke`, reason).expect(403);
    await asBootstrap(broker).post(`${grant.path}/revoke`, {}).expect(400);
  });
});

describe('a grant whose time is over', () => {
  const lapse = 24 * 3600;

  it('lapses if nobody decides within a day: every decision is refused then, and the sweep writes it once', async () => {
    const grant = await make('write');
    clock.advance(lapse);
    api = await agent.api();
    expect((await api.get(grant.path).expect(200)).body.status).toBe('lapsed');
    for (const name of Object.keys(acts)) await act(name, grant).expect(409);
    const slot = clock.now();
    await broker.worker.register();
    expect(await broker.worker.runNow('lapse-requests', slot)).toBe('done');
    expect((await api.get(grant.path).expect(200)).body).toMatchObject({
      status: 'lapsed',
      ended_by: 'lapse-requests',
    });
    expect(await broker.worker.runNow('lapse-requests', new Date(slot.getTime() + 1000))).toBe('done');
    expect(await countEvents(broker.database, 'grant.lapsed', { grantId: grant.id })).toBe(1);
  });

  it('is expired from its end on, before and after the sweep, and nothing changes that', async () => {
    const grant = await make('read');
    clock.advance(600);
    api = await agent.api();
    for (const name of ['return', 'revoke']) await act(name, grant).expect(409);
    expect((await api.get('/v1/grants?status=expired').expect(200)).body.items[0].id).toBe(grant.id);
    await broker.worker.runNow('expire-grants', clock.now());
    const shown = await api.get(grant.path).expect(200);
    expect(shown.body).toMatchObject({ status: 'expired', ended_at: shown.body.expires_at });
    expect(await countEvents(broker.database, 'grant.expired', { grantId: grant.id })).toBe(1);
  });

  it('can be revoked on a replica whose clock is behind', async () => {
    const behind = new FakeClock(new Date(clock.now().getTime() - 800).toISOString());
    const replica = await startBroker({ clock: behind, database: broker.database });
    const grant = await make('read');
    const issued = agentOf(replica, agent).token({ resource: resource.identifier, grant_id: grant.id });
    expect((await issued.expect(200)).body.grant_id).toBe(grant.id);
    const revoked = await asBootstrap(replica).post(`${grant.path}/revoke`, reason).expect(200);
    expect(revoked.body.status).toBe('revoked');
  });

  it('is revoked, not expired, if its agent was disabled first, and has its audit event at once', async () => {
    const other = await createAgent(broker);
    const made = await (await other.api()).post('/v1/grants', grantRequest(resource.identifier)).expect(201);
    await asBootstrap(broker).post(`/v1/agents/${other.id}/disable`).expect(200);
    const disabledAt = clock.now().toISOString();
    expect(await countEvents(broker.database, 'grant.revoked', { grantId: made.body.id })).toBe(1);
    const path = `/v1/grants/${made.body.id}`;
    expect((await asBootstrap(broker).get(path).expect(200)).body.status).toBe('revoked');
    await asBootstrap(broker).post(`/v1/agents/${other.id}/enable`).expect(200);
    expect((await asBootstrap(broker).get(path).expect(200)).body.status).toBe('revoked');
    clock.advance(10);
    await broker.worker.runNow('expire-grants', clock.now());
    const shown = (await asBootstrap(broker).get(path).expect(200)).body;
    const end_reason = 'its agent was disabled';
    expect(shown).toMatchObject({ status: 'revoked', ended_at: disabledAt, end_reason });
    expect(shown.ended_by).toMatch(/^adm_/);
    expect(await countEvents(broker.database, 'grant.revoked', { grantId: made.body.id })).toBe(1);
  });

  it.each([
    ['revoked', ['disable', 'time', 'enable', 'disable']],
    ['expired', ['time', 'disable', 'enable', 'disable']],
  ])('stays %s, before the sweep, in the list and after it, after %j', async (status, steps) => {
    const other = await createAgent(broker);
    const terms = grantRequest(resource.identifier, { duration_seconds: 5 });
    const { body } = await (await other.api()).post('/v1/grants', terms).expect(201);
    const look = async () => {
      const one = await asBootstrap(broker).get(`/v1/grants/${body.id}`).expect(200);
      const listed = await asBootstrap(broker).get(`/v1/grants?status=${status}&limit=100`).expect(200);
      const isListed = listed.body.items.some(({ id }: { id: string }) => id === body.id);
      expect([one.body.status, isListed]).toEqual([status, true]);
    };
    for (const step of steps) {
      clock.advance(step === 'time' ? 6 : 1);
      if (step !== 'time') await asBootstrap(broker).post(`/v1/agents/${other.id}/${step}`).expect(200);
      await look();
    }
    await broker.worker.runNow('expire-grants', clock.now());
    await look();
  });
});

describe('a list', () => {
  it('is filtered by effective status, newest first, page by page, and reading changes nothing', async () => {
    const lister = await createAgent(broker);
    const own = await lister.api();
    const ids: string[] = [];
    for (let i = 0; i < 5; i += 1) {
      clock.advance(1);
      const made = await own.post(
        '/v1/grants',
        grantRequest(resource.identifier, { duration_seconds: 10 * (i + 1) }),
      );
      ids.unshift(made.body.id);
    }
    clock.advance(20);
    const versions = () => broker.database.owner.query('select id, version from grants order by id');
    const before = (await versions()).rows;
    const seen: string[] = [];
    let cursor = '';
    do {
      const page = await own.get(`/v1/grants?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`).expect(200);
      seen.push(...page.body.items.map((item: { id: string }) => item.id));
      cursor = page.body.next_cursor ?? '';
    } while (cursor !== '');
    expect(seen).toEqual(ids);
    const active = await own.get('/v1/grants?status=active').expect(200);
    const expired = await own.get('/v1/grants?status=expired').expect(200);
    expect([active.body.items.length, expired.body.items.length]).toEqual([3, 2]);
    const named = await own.get(`/v1/grants?resource=${encodeURIComponent(resource.identifier)}`).expect(200);
    expect(named.body.items).toHaveLength(5);
    expect((await versions()).rows).toEqual(before);
  });
});

describe('a grant that a change of the catalogue ends', () => {
  it('has an audit event of limited size, for any number of removed scopes', async () => {
    const names = Array.from({ length: 60 }, (_, n) => String(n).padEnd(100, 's'));
    const scopes = names.map((name) => ({ name, description: 'A long name', risk: 'low' }));
    const wide = await createResource(broker, { scopes });
    const requester = await (await createAgent(broker)).api();
    const made = await requester
      .post('/v1/grants', grantRequest(wide.identifier, { scopes: names }))
      .expect(201);
    const kept = [{ name: 'read', description: 'Read everything', risk: 'low' }];
    await asBootstrap(broker).patch(`/v1/resources/${wide.id}`, { scopes: kept }).expect(200);
    const { rows } = await broker.database.owner.query(
      "select details from audit_events where type = 'grant.revoked' and grant_id = $1",
      [made.body.id],
    );
    expect(rows[0].details.reason).toMatch(/^scope was removed or its risk raised: 0s/);
    expect(rows[0].details.reason).toHaveLength(eventLimits.text);
  });
});
