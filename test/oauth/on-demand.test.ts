import { beforeAll, describe, expect, it } from 'vitest';
import {
  agentOf,
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  startBroker,
  type TestAgent,
  type TestBroker,
  type TestPerson,
} from '../support/broker.ts';
import { parallel, tally } from '../support/count.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { countTokens, eventsOf, grantTo } from './fixtures.ts';

/** Grants on demand: a token request that requests its grant. `read` is permitted at once, `write` with an approval, `admin` never. */
let broker: TestBroker;
let replica: TestBroker;
let approver: TestPerson;
const clock = new FakeClock();
const policy = `
permit(principal, action == Action::"request", resource) when { context.max_risk == "low" };
permit(principal, action == Action::"request", resource) when { context.max_risk == "medium" && context.approvals >= 1 };
forbid(principal, action == Action::"request", resource) when { context.max_risk == "high" };`;

beforeAll(async () => {
  broker = await startBroker({ clock });
  replica = await startBroker({ clock, database: broker.database });
  await createPolicy(broker, policy);
  approver = await createPerson(broker, { roles: ['approver'] });
});

/** Creates an agent with `grants_on_demand`, or without it. */
async function createDemanding(grants_on_demand = true): Promise<TestAgent> {
  const agent = await createAgent(broker);
  const change = { grants_on_demand };
  const { body } = await asBootstrap(broker).patch(`/v1/agents/${agent.id}`, change).expect(200);
  expect(body.grants_on_demand).toBe(grants_on_demand);
  return agent;
}
const grantsOf = async (agent: TestAgent) =>
  (await asBootstrap(broker).get(`/v1/grants?agent_id=${agent.id}`).expect(200)).body.items;

describe('a token request that no grant covers', () => {
  it('creates its grant if policy permits it at once, and uses the grant from then on', async () => {
    const [agent, resource] = [await createDemanding(), await createResource(broker)];
    const form = { resource: resource.identifier, scope: 'read' };
    const { body } = await agent.token(form).expect(200);
    expect(body).toMatchObject({ scope: 'read', expires_in: 300 });
    const [grant, ...more] = await grantsOf(agent);
    expect(more).toEqual([]);
    expect(grant).toMatchObject({
      id: body.grant_id,
      status: 'active',
      duration_seconds: 900,
      reason: 'requested by a token request',
    });
    expect((await agent.token(form).expect(200)).body.grant_id).toBe(grant.id);
    clock.advance(901);
    expect((await agent.token(form).expect(200)).body.grant_id).not.toBe(grant.id);
  });

  it('creates one pending grant if an approval is required, and answers authorization_pending until the decision', async () => {
    const [agent, resource] = [await createDemanding(), await createResource(broker)];
    const form = { resource: resource.identifier, scope: 'write read' };
    const events = (await eventsOf(broker.database, 'token.refused')).length;
    const { body, headers } = await agent.token(form).expect(400);
    expect(body).toEqual({
      error: 'authorization_pending',
      error_description: 'The grant waits for approval',
      grant_id: expect.stringMatching(/^grt_/),
      interval: 5,
    });
    expect(headers['cache-control']).toBe('no-store');
    const again = await agent.token({ ...form, scope: 'read write' }).expect(400);
    expect(again.body).toEqual(body);
    const [pending, ...more] = await grantsOf(agent);
    expect(more).toEqual([]);
    expect(pending).toMatchObject({ id: body.grant_id, status: 'pending', duration_seconds: 900 });
    expect((await eventsOf(broker.database, 'token.refused')).length).toBe(events);
    await (await agent.api()).get(`/v1/grants/${pending.id}`).expect(200);
    await approver.api
      .post(`/v1/grants/${pending.id}/approve`, { request_digest: pending.request_digest })
      .expect(200);
    expect((await agent.token(form).expect(200)).body.grant_id).toBe(pending.id);
  });

  it('gets access_denied for 15 minutes after a denial, and then requests again', async () => {
    const [agent, resource] = [await createDemanding(), await createResource(broker)];
    const form = { resource: resource.identifier, scope: 'write' };
    const { body: pending } = await agent.token(form).expect(400);
    await approver.api.post(`/v1/grants/${pending.grant_id}/deny`, { reason: 'no' }).expect(200);
    const { body: denied } = await agent.token(form).expect(400);
    expect(denied).toMatchObject({ error: 'access_denied', grant_id: pending.grant_id });
    expect(await grantsOf(agent)).toHaveLength(1);
    clock.advance(901);
    const { body: asked } = await agent.token(form).expect(400);
    expect(asked.error).toBe('authorization_pending');
    expect(asked.grant_id).not.toBe(pending.grant_id);
  });

  it('is refused for 15 minutes the scopes that an approver left out, and gets the others', async () => {
    const scopes = [
      { name: 'read', description: 'Read', risk: 'low' },
      { name: 'write', description: 'Write', risk: 'medium' },
    ];
    const [agent, resource] = [await createDemanding(), await createResource(broker, { scopes })];
    const form = { resource: resource.identifier, scope: 'read write' };
    const { body: pending } = await agent.token(form).expect(400);
    expect(pending.error).toBe('authorization_pending');
    const { request_digest } = (await approver.api.get(`/v1/grants/${pending.grant_id}`).expect(200)).body;
    const less = { request_digest, scopes: ['read'] };
    await approver.api.post(`/v1/grants/${pending.grant_id}/approve`, less).expect(200);
    expect((await agent.token(form).expect(400)).body.error).toBe('invalid_scope');
    expect(await grantsOf(agent)).toHaveLength(1);
    const { body } = await agent.token({ ...form, scope: 'read' }).expect(200);
    expect(body.grant_id).toBe(pending.grant_id);
    clock.advance(901);
    expect((await agent.token(form).expect(400)).body.error).toBe('authorization_pending');
  });

  it('is refused with an audit event, as without grants_on_demand, if policy denies it or the resource does not exist', async () => {
    const [agent, resource] = [await createDemanding(), await createResource(broker)];
    const plain = await createAgent(broker);
    const unknown = { resource: 'https://nowhere.example', scope: 'read' };
    for (const form of [{ resource: resource.identifier, scope: 'admin' }, unknown]) {
      const asked = await agent.token(form).expect(400);
      expect(asked.body).toEqual((await plain.token(form).expect(400)).body);
      expect(asked.body.error).toBe('invalid_target');
    }
    const denied = (await eventsOf(broker.database, 'grant.denied_by_policy')).filter(
      ({ actor_id }) => actor_id === agent.id,
    );
    expect(denied).toHaveLength(2);
    const scope = { resource: resource.identifier, scope: 'read nothing' };
    expect((await agent.token(scope).expect(400)).body.error).toBe('invalid_scope');
    const details = { ...scope, scope: 'read', authorization_details: '[{"type":"llm"}]' };
    expect((await agent.token(details).expect(400)).body.error).toBe('invalid_authorization_details');
    expect(await grantsOf(agent)).toEqual([]);
  });

  it.each<[string, (resource: string) => Record<string, string>]>([
    ['names no scope', (resource) => ({ resource })],
    [
      'names a grant',
      (resource) => ({ resource, scope: 'read', grant_id: 'grt_01kjdw0a5vf8h8v0m6gq3r9x2c' }),
    ],
  ])('asks for nothing if it %s', async (_, formOf) => {
    const [agent, resource] = [await createDemanding(), await createResource(broker)];
    await agent.token(formOf(resource.identifier)).expect(400);
    expect(await grantsOf(agent)).toEqual([]);
  });

  it('requests nothing if the agent does not have grants_on_demand, or does not authenticate', async () => {
    const [agent, resource] = [await createDemanding(false), await createResource(broker)];
    const form = { resource: resource.identifier, scope: 'read' };
    expect((await agent.token(form).expect(400)).body.error).toBe('invalid_target');
    const other = await createDemanding();
    await other.token(form).auth(other.id, 'wrong').expect(401);
    await asBootstrap(broker).post(`/v1/agents/${other.id}/disable`, { reason: 'x' }).expect(200);
    await other.token(form).expect(401);
    expect([...(await grantsOf(agent)), ...(await grantsOf(other))]).toEqual([]);
  });

  it('requests the scopes that no grant covers, and existing grants stay as they are', async () => {
    const [agent, resource] = [
      await createDemanding(),
      await createResource(broker, { max_grant_seconds: 60 }),
    ];
    const own = await grantTo(agent, resource, { duration_seconds: 60 });
    const form = { resource: resource.identifier, scope: 'write' };
    const { body } = await agent.token(form).expect(400);
    expect(body.error).toBe('authorization_pending');
    const grants = await grantsOf(agent);
    expect(grants.map(({ id }: { id: string }) => id).sort()).toEqual([own, body.grant_id].sort());
    expect(grants[0].duration_seconds).toBe(60);
  });

  it('requests a grant from the next request on, once its agent has grants_on_demand', async () => {
    const [agent, resource] = [await createDemanding(false), await createResource(broker)];
    const form = { resource: resource.identifier, scope: 'read' };
    await agent.token().expect(200);
    await agent.token(form).expect(400);
    await asBootstrap(broker).patch(`/v1/agents/${agent.id}`, { grants_on_demand: true }).expect(200);
    await agent.token(form).expect(200);
    await asBootstrap(broker).patch(`/v1/agents/${agent.id}`, { grants_on_demand: false }).expect(200);
    clock.advance(901);
    await agent.token(form).expect(400);
  });

  it('gets another grant in the last second of the previous one', async () => {
    const [agent, resource] = [await createDemanding(), await createResource(broker)];
    const form = { resource: resource.identifier, scope: 'read' };
    // A token expires at a whole second: no token can be issued under a grant that ends within the current second.
    clock.advance(0.5);
    const { body } = await agent.token(form).expect(200);
    clock.advance(899.7);
    expect((await agent.token(form).expect(200)).body.grant_id).not.toBe(body.grant_id);
    clock.advance(0.8);
  });

  it('gets access_denied only if a person denied: a grant that an epoch ended is requested again', async () => {
    const [agent, resource] = [await createDemanding(), await createResource(broker)];
    const form = { resource: resource.identifier, scope: 'write' };
    const { body } = await agent.token(form).expect(400);
    await asBootstrap(broker).post(`/v1/agents/${agent.id}/disable`, { reason: 'x' }).expect(200);
    await asBootstrap(broker).post(`/v1/agents/${agent.id}/enable`, {}).expect(200);
    const again = await agent.token(form).expect(400);
    expect(again.body.error).toBe('authorization_pending');
    expect(again.body.grant_id).not.toBe(body.grant_id);
  });

  it('requests nothing if the token would be refused: for a missing proof, or because it is too long', async () => {
    const strict = await createResource(broker, { require_bound_tokens: true });
    const agent = await createDemanding();
    const bare = await agent.token({ resource: strict.identifier, scope: 'read' }).expect(400);
    const unknown = await agent.token({ resource: 'https://nowhere.example', scope: 'read' }).expect(400);
    expect(bare.body).toEqual(unknown.body);
    const names = Array.from({ length: 45 }, (_, n) => `scope-${n}-${'x'.repeat(100)}`);
    const scopes = names.map((name) => ({ name, description: name, risk: 'low' }));
    const wide = await createResource(broker, { scopes });
    const long = await agent.token({ resource: wide.identifier, scope: names.join(' ') }).expect(400);
    expect(long.body.error).toBe('invalid_scope');
    expect(await grantsOf(agent)).toEqual([]);
  });

  it('creates one request when twenty arrive at the same time, with scopes in any order and any spelling of the resource', async () => {
    const [agent, resource] = [await createDemanding(), await createResource(broker)];
    const answers = await parallel(20, (n) =>
      agentOn(n % 2 === 0 ? broker : replica, agent).token({
        resource: n % 3 === 0 ? `${resource.identifier}/` : resource.identifier,
        scope: n % 4 < 2 ? 'read write' : 'write read',
      }),
    );
    expect(tally(answers)).toEqual({ 400: 20 });
    expect(await grantsOf(agent)).toHaveLength(1);
  });

  it.each([
    'read',
    'write',
  ])('creates one request when twenty arrive at the same time at two replicas (%s)', async (scope) => {
    const [agent, resource] = [await createDemanding(), await createResource(broker)];
    const form = { resource: resource.identifier, scope };
    const tokens = await countTokens(broker.database);
    const answers = await parallel(20, (n) => {
      const on = n % 2 === 0 ? broker : replica;
      return agentOn(on, agent).token(form);
    });
    const grants = await grantsOf(agent);
    expect(grants).toHaveLength(1);
    expect(new Set(answers.map(({ body }) => body.grant_id))).toEqual(new Set([grants[0].id]));
    expect(tally(answers)).toEqual(scope === 'read' ? { 200: 20 } : { 400: 20 });
    expect(await countTokens(broker.database)).toBe(tokens + (scope === 'read' ? 20 : 0));
  });
});

function agentOn(on: TestBroker, { id, secret }: TestAgent): TestAgent {
  return agentOf(on, { id, secret });
}
