import { beforeAll, describe, expect, it } from 'vitest';
import {
  type Api,
  apiOf,
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
import { countEvents, parallel, tally } from '../support/count.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
/** Two replicas on one database. */
let replicas: [TestBroker, TestBroker];
let broker: TestBroker;
let agent: TestAgent;
let api: Api;
let approvers: TestPerson[];
let resource: { id: string; identifier: string };

beforeAll(async () => {
  broker = await startBroker({ clock });
  replicas = [broker, await startBroker({ clock, database: broker.database })];
  await createPolicy(broker, readAtOnce);
  agent = await createAgent(broker);
  api = await agent.api();
  resource = await createResource(broker);
  approvers = await parallel(20, () => createPerson(broker, { roles: ['approver'] }));
});

/** Returns the API of a person on one of the replicas, in turn. */
const spread = (person: TestPerson, index: number): Api =>
  apiOf(replicas[index % 2] as TestBroker, person.key);
const approver = (index: number): TestPerson => approvers[index] as TestPerson;

async function pending(change: Record<string, unknown> = {}) {
  const request = grantRequest(resource.identifier, { scopes: ['write'], ...change });
  const { body } = await api.post('/v1/grants', request).expect(202);
  return { id: body.id as string, path: `/v1/grants/${body.id}`, request_digest: body.request_digest };
}

describe('twenty at the same time', () => {
  it('approvals by one person count once, over two replicas', async () => {
    const forbid = await createPolicy(
      broker,
      'forbid(principal, action == Action::"request", resource) when { context.max_risk == "medium" } unless { context.approvals >= 2 };',
    );
    const { id, path, request_digest } = await pending();
    const answers = await parallel(20, (i) =>
      spread(approver(0), i).post(`${path}/approve`, { request_digest }),
    );
    expect(tally(answers)).toEqual({ 200: 1, 409: 19 });
    expect((await api.get(path).expect(200)).body).toMatchObject({ status: 'pending' });
    expect(await countEvents(broker.database, 'grant.approved', { grantId: id })).toBe(1);
    await asBootstrap(broker).delete(`/v1/policies/${forbid}`).expect(204);
  });

  it('approvals by twenty people make one active grant: a quorum is reached once', async () => {
    const forbid = await createPolicy(
      broker,
      'forbid(principal, action == Action::"request", resource) when { context.max_risk == "medium" } unless { context.approvals >= 3 };',
    );
    const { id, path, request_digest } = await pending();
    const answers = await parallel(20, (i) =>
      spread(approver(i), i).post(`${path}/approve`, { request_digest }),
    );
    expect(tally(answers)).toEqual({ 200: 3, 409: 17 });
    const { body } = await api.get(path).expect(200);
    expect(body).toMatchObject({ status: 'active', decision: { approvals: { length: 3 } } });
    expect(await countEvents(broker.database, 'grant.activated', { grantId: id })).toBe(1);
    expect(await countEvents(broker.database, 'grant.approved', { grantId: id })).toBe(3);
    await asBootstrap(broker).delete(`/v1/policies/${forbid}`).expect(204);
  });

  it('requests with one idempotency key make one grant', async () => {
    const request = grantRequest(resource.identifier);
    const token = (await agent.token().expect(200)).body.access_token;
    const before = await countEvents(broker.database, 'grant.requested');
    const answers = await parallel(20, (i) =>
      apiOf(replicas[i % 2] as TestBroker, token)
        .post('/v1/grants', request)
        .set('Idempotency-Key', 'once'),
    );
    expect(tally(answers)).toEqual({ 201: 20 });
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    expect(await countEvents(broker.database, 'grant.requested')).toBe(before + 1);
  });

  it('returns end one grant once', async () => {
    const { body } = await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
    const answers = await parallel(20, () => api.post(`/v1/grants/${body.id}/return`));
    expect(tally(answers)).toEqual({ 200: 1, 409: 19 });
    expect(await countEvents(broker.database, 'grant.returned', { grantId: body.id })).toBe(1);
  });
});

describe('while its agent is being disabled', () => {
  it.each([
    'approve',
    'cancel',
  ] as const)('%s waits until the agent is disabled, and then finds the grant denied', async (name) => {
    const other = await createAgent(broker);
    const own = await other.api();
    const { body } = await own
      .post('/v1/grants', grantRequest(resource.identifier, { scopes: ['write'] }))
      .expect(202);
    const { owner } = broker.database;
    await owner.query('begin');
    await owner.query('update agents set epoch = epoch + 1, updated_at = $2 where id = $1', [
      other.id,
      clock.now(),
    ]);
    const caller = name === 'cancel' ? own : approver(0).api;
    const terms = name === 'cancel' ? {} : { request_digest: body.request_digest };
    const answer = caller.post(`/v1/grants/${body.id}/${name}`, terms).then((got) => got);
    await eventually(async () => {
      const { rows } = await owner.query(
        `select from pg_locks where not granted and locktype = 'transactionid'
            and pid in (select pid from pg_stat_activity where datname = current_database())`,
      );
      expect(rows).toHaveLength(1);
    });
    await owner.query('commit');
    expect(await answer).toMatchObject({ status: 409, body: { code: 'grant-not-pending' } });
    expect((await asBootstrap(broker).get(`/v1/grants/${body.id}`).expect(200)).body.status).toBe('denied');
  });
});

describe('approval racing', () => {
  it.each([
    'deny',
    'revoke',
    'cancel',
  ] as const)('%s never ends active once that has answered 200', async (name) => {
    for (let round = 0; round < 10; round += 1) {
      const { path, request_digest } = await pending();
      const ender = name === 'cancel' ? api : spread(approver(1), round);
      const [approved, ended] = await Promise.all([
        spread(approver(0), round + 1).post(`${path}/approve`, { request_digest }),
        ender.post(`${path}/${name}`, name === 'cancel' ? {} : { reason: 'no' }),
      ]);
      const { status } = (await api.get(path).expect(200)).body;
      expect([approved.status, ended.status]).toContain(200);
      if (ended.status === 200) expect(status).not.toBe('active');
      else expect([approved.status, ended.status, status]).toEqual([200, 409, 'active']);
    }
  });

  it('a raised risk never leaves an active grant that was approved under the lower one', async () => {
    for (let round = 0; round < 8; round += 1) {
      const scope = (risk: string) => [{ name: 'write', description: 'Change', risk }];
      const raised = await createResource(broker, { scopes: scope('medium') });
      const { body } = await api
        .post('/v1/grants', grantRequest(raised.identifier, { scopes: ['write'] }))
        .expect(202);
      const raise = asBootstrap(broker).patch(`/v1/resources/${raised.id}`, { scopes: scope('high') });
      const [approved] = await Promise.all([
        spread(approver(0), 1).post(`/v1/grants/${body.id}/approve`, { request_digest: body.request_digest }),
        raise.then((answer) => expect(answer.status).toBe(200)),
      ]);
      expect([200, 409, 412]).toContain(approved.status);
      expect((await api.get(`/v1/grants/${body.id}`).expect(200)).body.status).toMatch(/^(denied|revoked)$/);
    }
  });

  it('two approvers narrow at once: one of them agreed to other terms and gets an error', async () => {
    const forbid = await createPolicy(
      broker,
      'forbid(principal, action == Action::"request", resource) when { context.max_risk == "medium" } unless { context.approvals >= 2 };',
    );
    const { path, request_digest } = await pending();
    const answers = await parallel(2, (i) =>
      spread(approver(i), i).post(`${path}/approve`, { request_digest, duration_seconds: 100 + i }),
    );
    expect(tally(answers)).toEqual({ 200: 1, 412: 1 });
    await asBootstrap(broker).delete(`/v1/policies/${forbid}`).expect(204);
  });
});
