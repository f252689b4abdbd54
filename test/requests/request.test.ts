import { beforeAll, describe, expect, it } from 'vitest';
import {
  type Api,
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
} from '../support/broker.ts';
import { countEvents } from '../support/count.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let broker: TestBroker;
let agent: TestAgent;
let api: Api;
let resource: { id: string; identifier: string };

beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, readAtOnce);
  await createPerson(broker, { roles: ['approver'], name: 'approver' });
  agent = await createAgent(broker);
  api = await agent.api();
  resource = await createResource(broker);
});

describe('a request', () => {
  it('that policy permits creates an active grant: 201, Location, ETag, and two audit events', async () => {
    const made = await api
      .post('/v1/grants', grantRequest(resource.identifier, { ticket: 'T-1' }))
      .expect(201);
    expect(made.headers).toMatchObject({ location: `/v1/grants/${made.body.id}`, etag: expect.any(String) });
    expect(made.body).toMatchObject({
      status: 'active',
      starts_at: '2026-03-02T10:00:00.000Z',
      expires_at: '2026-03-02T10:10:00.000Z',
      ticket: 'T-1',
      decision: { approvals_required: 0, approvals: [] },
    });
    expect(made.body.decision.policies).toHaveLength(1);
    expect(await countEvents(broker.database, 'grant.requested', { grantId: made.body.id })).toBe(1);
    expect(await countEvents(broker.database, 'grant.activated', { grantId: made.body.id })).toBe(1);
  });

  it('that needs approval creates a pending grant: 202 with Retry-After', async () => {
    const made = await api
      .post('/v1/grants', grantRequest(resource.identifier, { scopes: ['admin'] }))
      .expect(202);
    expect(made.headers['retry-after']).toBe('5');
    expect(made.body).toMatchObject({ status: 'pending', starts_at: null, expires_at: null });
    expect(made.body.decision.approvals_required).toBe(1);
    expect(made.body.scope_details).toEqual([{ name: 'admin', description: 'Run the place', risk: 'high' }]);
  });

  it('creates a grant that never outlives the agent', async () => {
    const short = await createAgent(broker, { expires_at: '2026-03-02T10:01:00.000Z' });
    const made = await (await short.api()).post('/v1/grants', grantRequest(resource.identifier)).expect(201);
    expect(made.body.expires_at).toBe('2026-03-02T10:01:00.000Z');
  });

  it.each([
    ['starts_at', '2026-03-03T10:00:00.000Z'],
    ['max_uses', 1],
  ])('with %s, which cannot be honoured yet, is refused', async (name, value) => {
    const refused = await api
      .post('/v1/grants', grantRequest(resource.identifier, { [name]: value }))
      .expect(400);
    expect(refused.body).toMatchObject({ code: 'not-supported', detail: expect.stringContaining(name) });
  });

  it('of a disabled agent is refused with its token', async () => {
    const gone = await createAgent(broker);
    const late = await gone.api();
    await asBootstrap(broker).post(`/v1/agents/${gone.id}/disable`).expect(200);
    await late.post('/v1/grants', grantRequest(resource.identifier)).expect(401);
  });
});

describe('a denial', () => {
  it('has hints with the nearest part that would be permitted, and one audit event', async () => {
    const strict = await createResource(broker, { labels: ['strict'] });
    const id = await createPolicy(
      broker,
      'forbid(principal, action == Action::"request", resource) when { resource.labels.contains("strict") && context.max_risk != "low" };',
    );
    const asked = grantRequest(strict.identifier, { scopes: ['read', 'admin'] });
    const before = await countEvents(broker.database, 'access.denied');
    const denied = await api.post('/v1/grants', asked).expect(403);
    expect(denied.body.code).toBe('policy-denied');
    expect(denied.body.hints).toEqual([{ scopes: ['read'], duration_seconds: 600, approvals_required: 0 }]);
    expect(await countEvents(broker.database, 'access.denied')).toBe(before);
    const { rows } = await broker.database.owner.query(
      `select object_id, outcome from audit_events where type = 'grant.denied_by_policy' and agent_id = $1`,
      [agent.id],
    );
    expect(rows).toEqual([{ object_id: strict.id, outcome: 'denied' }]);
    await asBootstrap(broker).delete(`/v1/policies/${id}`).expect(204);
  });

  it('is the same for an unknown resource and one that policy never permits', async () => {
    const hidden = await createResource(broker, { labels: ['hidden'] });
    await createPolicy(
      broker,
      'forbid(principal, action == Action::"request", resource) when { resource.labels.contains("hidden") };',
    );
    const answers = [];
    for (const identifier of [hidden.identifier, 'https://nothing.example']) {
      const requests = [{}, { scopes: ['no-such-scope'] }, { duration_seconds: 2_592_000 }];
      for (const change of requests) {
        const { status, body } = await api.post('/v1/grants', grantRequest(identifier, change));
        const { request_id: _, ...rest } = body;
        answers.push(JSON.stringify([status, rest]));
      }
    }
    expect(new Set(answers).size).toBe(1);
    expect(answers[0]).toContain('policy-denied');
  });

  it('is a specific error for an unknown scope or a too long duration, if the agent may know the resource', async () => {
    const unknown = await api
      .post('/v1/grants', grantRequest(resource.identifier, { scopes: ['read', 'x'] }))
      .expect(400);
    expect(unknown.body).toMatchObject({ code: 'invalid-scope', detail: expect.stringContaining(' x') });
    const long = await api
      .post('/v1/grants', grantRequest(resource.identifier, { duration_seconds: 7201 }))
      .expect(400);
    expect(long.body).toMatchObject({ code: 'invalid-request', detail: expect.stringContaining('7200') });
  });

  it('has its own code if nobody may give the approval that policy requires', async () => {
    const lonely = await startBroker({ clock });
    const people = await asBootstrap(lonely).get('/v1/admins').expect(200);
    await asBootstrap(lonely)
      .patch(`/v1/admins/${people.body.items[0].id}`, { roles: ['admin'] })
      .expect(200);
    const it = await createResource(lonely);
    const request = grantRequest(it.identifier);
    const denied = await (await (await createAgent(lonely)).api()).post('/v1/grants', request).expect(403);
    expect(denied.body.code).toBe('no-eligible-approver');
  });

  it('is the result of an error in a policy, even if other policies permit', async () => {
    const labelled = await createResource(broker, { labels: ['errs'] });
    const id = await createPolicy(
      broker,
      'forbid(principal, action == Action::"request", resource) when { resource.labels.contains("errs") && context.duration_seconds * 9223372036854775807 > 0 };',
    );
    const denied = await api.post('/v1/grants', grantRequest(labelled.identifier)).expect(403);
    expect(denied.body.code).toBe('policy-error');
    await asBootstrap(broker).delete(`/v1/policies/${id}`).expect(204);
  });
});

describe('simulation', () => {
  it('says how a request would be decided, also with other policies, and changes nothing', async () => {
    const admin = asBootstrap(broker);
    const asked = {
      agent_id: agent.id,
      resource: resource.identifier,
      scopes: ['read'],
      duration_seconds: 600,
    };
    const before = (await broker.database.owner.query('select count(*) from grants')).rows[0].count;
    const now = await admin.post('/v1/policies/simulate', asked).expect(200);
    expect(now.body).toMatchObject({ outcome: 'permit', approvals_required: 0, hints: [] });
    const admins = await admin.post('/v1/policies/simulate', { ...asked, scopes: ['admin'] }).expect(200);
    expect(admins.body).toMatchObject({ outcome: 'pending', approvals_required: 1 });
    const cedar = 'forbid(principal, action, resource);';
    const closed = await admin.post('/v1/policies/simulate', { ...asked, cedar }).expect(200);
    expect(closed.body).toMatchObject({ outcome: 'denied', code: 'policy-denied' });
    const broken = await admin.post('/v1/policies/simulate', { ...asked, cedar: 'nonsense' }).expect(400);
    expect(broken.body.code).toBe('invalid-policy');
    const unknown = `agt_${agent.id.slice(4).replace(/.$/, agent.id.endsWith('0') ? '1' : '0')}`;
    await admin.post('/v1/policies/simulate', { ...asked, agent_id: unknown }).expect(404);
    expect((await broker.database.owner.query('select count(*) from grants')).rows[0].count).toBe(before);
  });
});
