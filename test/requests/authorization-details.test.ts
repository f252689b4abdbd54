import { decodeJwt } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { createServerOf, eventsOf, introspect } from '../oauth/fixtures.ts';
import {
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  grantRequest,
  startBroker,
  type TestAgent,
  type TestBroker,
  type TestPerson,
} from '../support/broker.ts';

/** Details of grants (RFC 9396): requested, approved, carried by tokens, narrowed, and ended with their type. */
let broker: TestBroker;
let agent: TestAgent;
let approver: TestPerson;
const llm = {
  type: 'llm',
  models: ['small', 'large'],
  actions: ['inference', 'embeddings'],
  max_requests: 10,
};
const own = {
  type: 'https://files.example/share',
  schema: {
    type: 'object',
    required: ['paths'],
    properties: { paths: { type: 'array', items: { type: 'string' } } },
  },
  narrowing: { paths: 'subset' },
};
const share = { type: own.type, paths: ['/a', '/b'] };

beforeAll(async () => {
  broker = await startBroker();
  await createPolicy(
    broker,
    `permit(principal, action == Action::"request", resource)
       when { !context.llm_actions.contains("fine_tune") || context.approvals >= 1 };
     forbid(principal, action == Action::"request", resource) when { context.llm_models.contains("forbidden") };`,
  );
  agent = await createAgent(broker);
  approver = await createPerson(broker, { roles: ['approver'] });
});

const createLlm = () => createResource(broker, { authorization_details_types: [{ type: 'llm' }, own] });
const asked = (identifier: string, details: unknown) =>
  grantRequest(identifier, { authorization_details: details });

describe('authorization_details of a grant', () => {
  it('are shown, and all of them are in its token, in the answer and at introspection', async () => {
    const resource = await createLlm();
    const api = await agent.api();
    const { body: grant } = await api
      .post('/v1/grants', asked(resource.identifier, [llm, share]))
      .expect(201);
    expect(grant.authorization_details).toEqual([llm, share]);
    const { body } = await agent.token({ resource: resource.identifier, scope: 'read' }).expect(200);
    expect(body.authorization_details).toEqual([llm, share]);
    expect(decodeJwt(body.access_token)).toMatchObject({ authorization_details: [llm, share] });
    const server = await createServerOf(broker, resource);
    expect(await introspect(broker, body.access_token, server)).toMatchObject({
      active: true,
      authorization_details: [llm, share],
    });
  });

  it('are narrowed by a token request, and never widened', async () => {
    const resource = await createLlm();
    const api = await agent.api();
    await api.post('/v1/grants', asked(resource.identifier, [llm, share])).expect(201);
    const ask = (details: unknown) =>
      agent.token({
        resource: resource.identifier,
        scope: 'read',
        authorization_details: typeof details === 'string' ? details : JSON.stringify(details),
      });
    const less = { ...llm, models: ['small'], max_requests: 1 };
    const { body } = await ask([less]).expect(200);
    expect(decodeJwt(body.access_token).authorization_details).toEqual([less]);
    const event = (await eventsOf(broker.database, 'token.issued')).at(-1);
    expect(event?.details.authorization_details).toEqual([less]);
    const more = [
      [{ ...llm, models: ['small', 'other'] }],
      [{ ...llm, max_requests: 11 }],
      [{ type: 'llm', models: ['small'], actions: ['inference'] }],
      [less, less],
      // A lower number is narrower. Leaving the limit out is not, because it removes the limit.
      [{ ...less, max_requests: 0 }],
      [{ ...less, max_requests: -1 }],
      [{ ...less, models: [] }],
      [{ ...less, models: ['small', 'small'] }],
      [{ ...less, actions: [] }],
      [{ ...less, max_tokens_per_request: 1e-9 }],
      [{ ...share, owner: 'me' }],
      [{ type: 'unknown' }],
      [],
      '{"type":"llm"}',
      '[{"models":["small"]}]',
      '[null]',
      'not JSON',
      JSON.stringify(Array.from({ length: 21 }, () => less)),
    ];
    for (const details of more) {
      const refused = await ask(details).expect(400);
      expect(refused.body.error).toBe('invalid_authorization_details');
      expect(refused.headers['cache-control']).toBe('no-store');
    }
    const endless = JSON.stringify([less]).replace('"max_requests":1', '"max_requests":1e400');
    for (const dirty of [endless, `[{"type":"llm\\u0000"}]`, `${'['.repeat(1000)}${']'.repeat(1000)}`]) {
      expect((await ask(dirty).expect(400)).body.error).toBe('invalid_request');
    }
  });

  it('are not in a grant that was requested without details, which permits none of them', async () => {
    const resource = await createLlm();
    const api = await agent.api();
    const { body: grant } = await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
    expect(grant.authorization_details).toBeNull();
    const form = { resource: resource.identifier, scope: 'read' };
    const { body } = await agent.token(form).expect(200);
    expect(body).not.toHaveProperty('authorization_details');
    const refused = await agent
      .token({ ...form, authorization_details: JSON.stringify([share]) })
      .expect(400);
    expect(refused.body.error).toBe('invalid_authorization_details');
  });

  it('select the grant that has them, also one that was created a moment ago', async () => {
    const resource = await createLlm();
    const api = await agent.api();
    const form = { resource: resource.identifier, scope: 'read' };
    await api.post('/v1/grants', grantRequest(resource.identifier, { duration_seconds: 900 })).expect(201);
    await agent.token(form).expect(200);
    const { body: granted } = await api
      .post(
        '/v1/grants',
        grantRequest(resource.identifier, { duration_seconds: 60, authorization_details: [share] }),
      )
      .expect(201);
    const details = JSON.stringify([{ ...share, paths: ['/b'] }]);
    const { body } = await agent.token({ ...form, authorization_details: details }).expect(200);
    expect(body.grant_id).toBe(granted.id);
  });

  it.each<[string, unknown]>([
    ['of a type that the resource does not have', [{ type: 'payment' }]],
    ['that are not what the type says', [{ ...llm, actions: ['everything'] }]],
  ])('are refused %s', async (_, details) => {
    const resource = await createLlm();
    const api = await agent.api();
    const refused = await api.post('/v1/grants', asked(resource.identifier, details)).expect(400);
    expect(refused.body.code).toBe('invalid-authorization-details');
    // An unknown resource and a resource that is never permitted get the same response here, too.
    await api.post('/v1/grants', asked('https://nowhere.example/', details)).expect(403);
  });

  it('are facts: policy can require an approval for one action and forbid a model', async () => {
    const resource = await createLlm();
    const api = await agent.api();
    const forbidden = asked(resource.identifier, [{ ...llm, models: ['forbidden'] }]);
    expect((await api.post('/v1/grants', forbidden).expect(403)).body.code).toBe('policy-denied');
    const tuning = [{ ...llm, actions: ['fine_tune'] }];
    const { body: pending } = await api.post('/v1/grants', asked(resource.identifier, tuning)).expect(202);
    const simulated = await asBootstrap(broker)
      .post('/v1/policies/simulate', {
        agent_id: agent.id,
        resource: resource.identifier,
        scopes: ['read'],
        duration_seconds: 60,
        authorization_details: tuning,
      })
      .expect(200);
    expect(simulated.body).toMatchObject({ outcome: 'pending', approvals_required: 1 });
    const { body: approved } = await approver.api
      .post(`/v1/grants/${pending.id}/approve`, { request_digest: pending.request_digest })
      .expect(200);
    expect(approved).toMatchObject({ status: 'active', authorization_details: tuning });
  });

  it('must be the same in a repeated request', async () => {
    const resource = await createLlm();
    const api = await agent.api();
    const ask = (details: unknown) =>
      api.post('/v1/grants', asked(resource.identifier, details)).set('Idempotency-Key', 'details');
    const first = await ask([llm, share]).expect(201);
    expect((await ask([llm, share]).expect(201)).body.id).toBe(first.body.id);
    expect((await ask([llm]).expect(409)).body.code).toBe('idempotency-key-reused');
  });

  it('end with a change of their type, as do their tokens; grants with other types stay', async () => {
    const resource = await createLlm();
    const api = await agent.api();
    const grant = async (details: unknown) =>
      (await api.post('/v1/grants', asked(resource.identifier, details)).expect(201)).body.id as string;
    const [ofLlm, ofShare] = [await grant([llm]), await grant([share])];
    const form = { resource: resource.identifier, scope: 'read', grant_id: ofShare };
    const { body } = await agent.token(form).expect(200);
    const change = { authorization_details_types: [{ type: 'llm' }, { ...own, narrowing: {} }] };
    await asBootstrap(broker).patch(`/v1/resources/${resource.id}`, change).expect(200);
    expect((await api.get(`/v1/grants/${ofLlm}`).expect(200)).body.status).toBe('active');
    expect((await api.get(`/v1/grants/${ofShare}`).expect(200)).body).toMatchObject({
      status: 'revoked',
      end_reason: `authorization details type was removed or changed: ${own.type}`,
    });
    const server = await createServerOf(broker, resource);
    expect(await introspect(broker, body.access_token, server)).toEqual({ active: false });
    expect((await agent.token(form).expect(400)).body.error).toBe('invalid_grant');
  });
});

describe('a token with details', () => {
  it('is refused if it would be too long for clients', async () => {
    const long = Array.from({ length: 30 }, (_, n) => `scope-${n}-${'x'.repeat(100)}`);
    const scopes = long.map((name) => ({ name, description: name, risk: 'low' }));
    const types = { authorization_details_types: [own] };
    const resource = await createResource(broker, { ...types, scopes });
    const details = [{ type: own.type, paths: ['x'.repeat(3_500)] }];
    const api = await agent.api();
    await api.post('/v1/grants', { ...asked(resource.identifier, details), scopes: long }).expect(201);
    const form = { resource: resource.identifier };
    const refused = await agent.token({ ...form, scope: long.join(' ') }).expect(400);
    expect(refused.body.error).toBe('invalid_request');
    const most = await agent.token({ ...form, scope: `${long.join(' ')} ${'x'.repeat(2_000)}` }).expect(400);
    expect(most.body.error).toBe('invalid_scope');
    const { body } = await agent.token({ ...form, scope: long.slice(0, 5).join(' ') }).expect(200);
    expect(body.access_token.length).toBeLessThan(8_192);
    const server = await createServerOf(broker, resource);
    expect(await introspect(broker, body.access_token, server)).toMatchObject({ active: true });
  });
});

describe('the types of a resource', () => {
  it.each<[string, unknown]>([
    ['a type without a schema', [{ type: 'mine' }]],
    [
      'a schema with a reference to another document',
      [{ type: 'mine', schema: { type: 'object', $ref: 'https://x.example' } }],
    ],
    ['an unknown narrowing', [{ type: 'mine', schema: { type: 'object' }, narrowing: { a: 'prefix' } }]],
  ])('are refused: %s', async (_, types) => {
    const body = { identifier: 'https://types.example', name: 't', kind: 'api', max_grant_seconds: 60 };
    const scopes = [{ name: 'read', description: 'Read', risk: 'low' }];
    const refused = await asBootstrap(broker)
      .post('/v1/resources', { ...body, scopes, authorization_details_types: types })
      .expect(400);
    expect(refused.body.code).toBe('invalid-request');
  });
});
