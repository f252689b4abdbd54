import { beforeAll, describe, expect, it } from 'vitest';
import {
  agentOf,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  startBroker,
  type TestAgent,
  type TestBroker,
  testIssuer,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createServerOf, expectRefusal, grantTo, permitAll } from './fixtures.ts';

let broker: TestBroker;
let agent: TestAgent;
let resource: { id: string; identifier: string };
const clock = new FakeClock();

beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, permitAll);
  agent = await createAgent(broker);
  resource = await createResource(broker);
  await grantTo(agent, resource, { scopes: ['read'], duration_seconds: 7200 });
  await grantTo(agent, resource, { scopes: ['write'], duration_seconds: 7200 });
});

const oauthNames: Record<string, string> = {
  'invalid-request': 'invalid_request',
  'not-supported': 'invalid_request',
  'invalid-target': 'invalid_target',
  'invalid-scope': 'invalid_scope',
  'invalid-grant': 'invalid_grant',
  'unsupported-grant-type': 'unsupported_grant_type',
  'unauthorized-client': 'unauthorized_client',
};

/** Asserts that the token request of the agent is refused, and that the audit log has an event of the refusal. */
async function refused(form: Record<string, string>, code: string, by: TestAgent = agent) {
  const error = oauthNames[code] ?? code;
  return expectRefusal(broker, by.token(form), { status: 400, error, recorded: { code, client: by.id } });
}

describe('an agent is refused with an audit event and without a token', () => {
  it.each([
    ['a scope without a resource', { scope: 'read' }, 'invalid-target'],
    ['the broker’s own scope without a resource', { scope: 'hallpass' }, 'invalid-target'],
    ['an unknown resource', { resource: 'https://nobody.example', scope: 'read' }, 'invalid-target'],
    ['a resource that is no URI', { resource: 'x', scope: 'read' }, 'invalid-target'],
    ['a path under the issuer', { resource: `${testIssuer}/v1`, scope: 'read' }, 'invalid-target'],
    ['another scope of the issuer', { resource: testIssuer, scope: 'read' }, 'invalid-scope'],
    ['a grant without its resource', { grant_id: 'grt_01kjdw0a5vf8h8v0m6gq3r9x2c' }, 'invalid-request'],
    ['another grant type', { grant_type: 'password' }, 'unsupported-grant-type'],
    ['no grant type', { grant_type: '' }, 'invalid-request'],
    ['an audience', { audience: 'x' }, 'not-supported'],
    ['details without a resource', { authorization_details: '[{"type":"llm"}]' }, 'invalid-target'],
    ['claims', { claims: '{}' }, 'not-supported'],
    ['a key to which the token is to be bound', { dpop_jkt: 'x' }, 'not-supported'],
    ['an actor', { actor_token: 'x' }, 'not-supported'],
  ])('for %s', async (_, form, code) => {
    const response = await refused(form as Record<string, string>, code);
    if (code === 'invalid-target' && 'resource' in form)
      expect(response.body.error_description).toContain('/v1/grants');
  });

  it.each([
    ['a scope that no grant has', 'admin'],
    ['scopes that only two grants together cover', 'read write'],
    ['a scope in another case', 'Read'],
    ['two spaces', 'read  read'],
    ['a space at the end', 'read '],
    ['a quote', 'read"'],
    ['no scope at all where several grants are active', ''],
  ])('for %s', async (_, scope) => {
    await refused({ resource: resource.identifier, scope }, 'invalid-scope');
  });

  it('for a resource for which it has no grant', async () => {
    const other = await createResource(broker);
    const response = await refused({ resource: other.identifier, scope: 'read' }, 'invalid-target');
    expect(response.body.error_description).toContain('/v1/grants');
  });

  it('for the grant_id of another agent, of another resource, of an ended grant or of an unknown grant, with the same response', async () => {
    const [otherAgent, other] = [await createAgent(broker), await createResource(broker)];
    const ended = await grantTo(agent, resource);
    await asBootstrap(broker).post(`/v1/grants/${ended}/revoke`, { reason: 'done' }).expect(200);
    const grantIds = [
      await grantTo(otherAgent, resource),
      await grantTo(agent, other),
      ended,
      'grt_01kjdw0a5vf8h8v0m6gq3r9x2c',
      'x',
    ];
    const bodies: unknown[] = [];
    for (const grant_id of grantIds) {
      const form = { resource: resource.identifier, scope: 'read', grant_id };
      bodies.push((await refused(form, 'invalid-grant')).body);
    }
    expect(new Set(bodies.map((body) => JSON.stringify(body))).size).toBe(1);
  });

  it('for a scope that the grant of grant_id does not cover, even if another grant covers it', async () => {
    const grant_id = await grantTo(agent, resource, { scopes: ['read'] });
    await refused({ resource: resource.identifier, scope: 'write', grant_id }, 'invalid-scope');
  });

  it('for a grant that policy no longer permits, with and without grant_id', async () => {
    const frozen = await createResource(broker);
    const grant_id = await grantTo(agent, frozen);
    const form = { resource: frozen.identifier, scope: 'read' };
    await agent.token(form).expect(200);
    const forbid = (when: string) =>
      createPolicy(
        broker,
        `forbid(principal, action == Action::"request", resource == Resource::"${frozen.identifier}") when { ${when} };`,
      );
    for (const when of ['true', 'context.duration_seconds * 9223372036854775807 > 0']) {
      const policy = await forbid(when);
      await refused(form, 'invalid-grant');
      await refused({ resource: frozen.identifier, grant_id }, 'invalid-grant');
      await asBootstrap(broker).delete(`/v1/policies/${policy}`).expect(204);
      await agent.token(form).expect(200);
    }
  });
});

describe('a resource server', () => {
  it('gets no token of any kind, and the refusal has an audit event', async () => {
    const server = await createServerOf(broker, resource);
    const recorded = { code: 'unauthorized-client', client: server.id };
    for (const form of [{}, { resource: resource.identifier, scope: 'read' }, { grant_type: 'x' }]) {
      const request = agentOf(broker, server).token(form as Record<string, string>);
      await expectRefusal(broker, request, { status: 400, error: 'unauthorized_client', recorded });
    }
  });
});

describe('a client that can no longer authenticate is a stranger at once, even if it was authenticated before', () => {
  const stranger = { status: 401, error: 'invalid_client' };
  const admin = () => asBootstrap(broker);
  const path = (id: string): string => `/v1/agents/${id}`;
  const inAnHour = (): string => new Date(clock.now().getTime() + 3_600_000).toISOString();

  const ends: [string, (id: string) => Promise<unknown>][] = [
    [
      'a disabled agent',
      (id) =>
        admin()
          .post(`${path(id)}/disable`)
          .expect(200),
    ],
    ['a deleted agent', (id) => admin().delete(path(id)).expect(204)],
    [
      'an expired agent',
      async (id) => {
        await admin().patch(path(id), { expires_at: inAnHour() }).expect(200);
        clock.advance(3600);
      },
    ],
    [
      'an agent with a revoked secret',
      async (id) => {
        const { body } = await admin().get(path(id)).expect(200);
        await admin()
          .delete(`${path(id)}/secrets/${body.secrets[0].id}`)
          .expect(204);
      },
    ],
  ];

  it.each(ends)('%s, for every kind of request', async (_, end) => {
    const endedAgent = await createAgent(broker);
    const granted = await createResource(broker);
    await grantTo(endedAgent, granted, { duration_seconds: 7200 });
    const form = { resource: granted.identifier, scope: 'read' };
    await endedAgent.token(form).expect(200);
    await end(endedAgent.id);
    const asked = [
      {},
      form,
      { ...form, scope: 'write' },
      { resource: 'https://nobody.example' },
      { grant_type: 'password' },
      { grant_type: '' },
      { audience: 'x' },
    ];
    for (const request of asked) await expectRefusal(broker, endedAgent.token(request), stranger);
  });

  it('an agent with an expired secret', async () => {
    const endedAgent = await createAgent(broker);
    const { body } = await admin()
      .post(`${path(endedAgent.id)}/secrets`, { expires_at: inAnHour() })
      .expect(201);
    const second = agentOf(broker, { id: endedAgent.id, secret: body.client_secret });
    await second.token().expect(200);
    clock.advance(3600);
    await expectRefusal(broker, second.token(), stranger);
    await expectRefusal(broker, second.token({ scope: 'read' }), stranger);
    await endedAgent.token().expect(200);
  });

  it('a resource server whose resource is deleted', async () => {
    const deleted = await createResource(broker);
    const server = agentOf(broker, await createServerOf(broker, deleted));
    await server.token().expect(400);
    await admin().delete(`/v1/resources/${deleted.id}`).expect(204);
    await expectRefusal(broker, server.token(), stranger);
  });
});
