import { beforeAll, describe, expect, it } from 'vitest';
import { eventsOf } from '../oauth/fixtures.ts';
import {
  asBootstrap,
  createAgent,
  createResource,
  grantRequest,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';

/** The limits of number and size that apply to every resource, before policy is evaluated. */
let broker: TestBroker;
let agent: TestAgent;
const type = 'https://files.example/share';
const schema = {
  type: 'object',
  required: ['paths'],
  properties: { paths: { type: 'array', items: { type: 'string' } } },
};
const share = { type, paths: ['/a', '/b'] };

beforeAll(async () => {
  broker = await startBroker();
  agent = await createAgent(broker);
});

const createShare = () => createResource(broker, { authorization_details_types: [{ type, schema }] });
const asked = (identifier: string, details: unknown) =>
  grantRequest(identifier, { authorization_details: details });

describe('authorization_details', () => {
  it.each<[string, unknown, string]>([
    ['longer than 4,096 bytes', [{ ...share, paths: ['x'.repeat(4_100)] }], 'invalid-authorization-details'],
    ['longer in bytes alone', [{ ...share, paths: ['é'.repeat(2_050)] }], 'invalid-authorization-details'],
    [
      'as long as a body may be',
      [{ ...share, paths: ['x'.repeat(200_000)] }],
      'invalid-authorization-details',
    ],
    ['more than 20', Array.from({ length: 21 }, () => share), 'invalid-request'],
  ])('are refused before anything is decided or recorded if they are %s', async (_, details, code) => {
    const { identifier } = await createShare();
    const api = await agent.api();
    const countEvents = async () =>
      (await broker.database.pool.query('select count(*)::int as n from audit_events')).rows[0].n;
    const before = await countEvents();
    for (const resource of [identifier, 'https://nowhere.example/']) {
      expect((await api.post('/v1/grants', asked(resource, details)).expect(400)).body.code).toBe(code);
      const simulation = { agent_id: agent.id, resource, scopes: ['read'], duration_seconds: 60 };
      const simulated = await asBootstrap(broker)
        .post('/v1/policies/simulate', { ...simulation, authorization_details: details })
        .expect(400);
      expect(simulated.body.code).toBe(code);
    }
    expect(await countEvents()).toBe(before);
  });

  it('are refused in a token request beyond the same limits, and are not written to the audit log', async () => {
    const resource = await createShare();
    const eager = await createAgent(broker);
    await asBootstrap(broker).patch(`/v1/agents/${eager.id}`, { grants_on_demand: true }).expect(200);
    const form = { resource: resource.identifier, scope: 'read' };
    const isEager = (event: { actor_id: string }) => event.actor_id === eager.id;
    const tooMuch = [
      [{ ...share, paths: ['x'.repeat(4_100)] }],
      Array.from({ length: 21 }, () => share),
      [{ type: 'x'.repeat(129) }],
    ];
    for (const details of tooMuch) {
      const refused = await eager
        .token({ ...form, authorization_details: JSON.stringify(details) })
        .expect(400);
      expect(refused.body.error).toBe('invalid_authorization_details');
    }
    const refusals = (await eventsOf(broker.database, 'token.refused')).filter(isEager);
    expect(refusals.map(({ details }) => Object.keys(details).sort())).toEqual(
      tooMuch.map(() => ['code', 'detail']),
    );
    expect(JSON.stringify(refusals).length).toBeLessThan(2_000);
    expect((await eventsOf(broker.database, 'grant.denied_by_policy')).filter(isEager)).toEqual([]);
  });
});
