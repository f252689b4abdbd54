import { beforeAll, describe, expect, it } from 'vitest';
import {
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  readAtOnce,
  startBroker,
  type TestBroker,
} from '../support/broker.ts';
import { parallel, tally } from '../support/count.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let broker: TestBroker;
let resource: { id: string; identifier: string };
beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, readAtOnce);
  resource = await createResource(broker);
});

describe('one agent', () => {
  it('has at most 100 open grants for a resource, so that minting a token reads no more than that', async () => {
    const agent = await createAgent(broker);
    const api = await agent.api();
    const ask = () => api.post('/v1/grants', grantRequest(resource.identifier, { duration_seconds: 60 }));
    for (let i = 0; i < 100; i += 1) await ask().expect(201);
    const refused = await ask().expect(409);
    expect(refused.body.code).toBe('too-many-grants');
    const other = await createResource(broker);
    await api.post('/v1/grants', grantRequest(other.identifier)).expect(201);
    const [first] = (await api.get('/v1/grants?status=active&limit=1').expect(200)).body.items;
    await api.post(`/v1/grants/${first.id}/return`).expect(200);
    clock.advance(60);
    await (await agent.api()).post('/v1/grants', grantRequest(resource.identifier)).expect(201);
  });

  it('is not limited by grants that have ended, and cannot exceed the limit by concurrent requests', async () => {
    const agent = await createAgent(broker);
    const limited = await createResource(broker);
    const ask = async () => (await agent.api()).post('/v1/grants', grantRequest(limited.identifier));
    const api = await agent.api();
    const answers = [];
    for (let round = 0; round < 5; round += 1) {
      answers.push(...(await parallel(24, () => api.post('/v1/grants', grantRequest(limited.identifier)))));
    }
    expect(tally(answers)).toEqual({ 201: 100, 409: 20 });
    await asBootstrap(broker).post(`/v1/agents/${agent.id}/disable`).expect(200);
    await asBootstrap(broker).post(`/v1/agents/${agent.id}/enable`).expect(200);
    expect((await ask()).status).toBe(201);
  });
});

describe('a request', () => {
  it('that is in progress when a policy is created is decided by the new policy', async () => {
    const agent = await createAgent(broker);
    const api = await agent.api();
    const overtaken = await createResource(broker, { labels: ['overtaken'] });
    const holder = await broker.database.pool.connect();
    await holder.query('begin');
    await holder.query('select 1 from resources where id = $1 for update', [overtaken.id]);
    const asked = api.post('/v1/grants', grantRequest(overtaken.identifier)).then((response) => response);
    // PostgreSQL shows wait events only to sessions of the same role, so the broker's pool asks.
    const waits = `select count(*)::integer as n from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`;
    while ((await broker.database.pool.query(waits)).rows[0].n === 0) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await createPolicy(
      broker,
      'forbid(principal, action == Action::"request", resource) when { resource.labels.contains("overtaken") };',
    );
    await holder.query('commit');
    holder.release();
    expect((await asked).body).toMatchObject({ status: 403, code: 'policy-denied' });
  });
});
