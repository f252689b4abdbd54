import { beforeAll, describe, expect, it } from 'vitest';
import {
  apiOf,
  asBootstrap,
  createAgent,
  createPerson,
  createResource,
  grantRequest,
  startBroker,
  type TestBroker,
} from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
  await createPerson(broker, { roles: ['approver'] });
});

interface Listed {
  request_id: string;
  agent_id: string | null;
  grant_id: string | null;
  object_id: string | null;
  actor: { id: string };
  details: object;
}

/** Returns the events that a filter finds, if the event of this request is among them. */
async function find(filter: string, requestId: unknown): Promise<Listed[]> {
  let found: Listed[] = [];
  await eventually(async () => {
    const { body } = await asBootstrap(broker).get(`/v1/audit-events?${filter}&limit=200`).expect(200);
    found = body.items.filter((event: Listed) => event.request_id === requestId);
    expect(found).not.toEqual([]);
  });
  return found;
}

async function requested() {
  const agent = await createAgent(broker);
  const resource = await createResource(broker);
  const grant = await (await agent.api())
    .post('/v1/grants', grantRequest(resource.identifier, { scopes: ['write'] }))
    .expect(202);
  return { agent, grant: grant.body as { id: string; request_digest: string } };
}

describe('a denial', () => {
  it('is listed by the grant in the path', async () => {
    const { grant } = await requested();
    const auditor = await createPerson(broker, { roles: ['auditor'] });
    const stranger = await createAgent(broker);
    const refused = [
      await auditor.api.post(`/v1/grants/${grant.id}/approve`).expect(403),
      await (await stranger.api()).get(`/v1/grants/${grant.id}`).expect(404),
    ];
    const actors = [auditor.id, stranger.id];
    for (const [n, { headers }] of refused.entries()) {
      const [event] = await find(`type=access.denied&grant_id=${grant.id}`, headers['x-request-id']);
      expect(event).toMatchObject({ grant_id: grant.id, object_id: null, actor: { id: actors[n] } });
    }
  });

  it('is found by the agent of the request, with the object of the request', async () => {
    const { agent } = await requested();
    const approver = await createPerson(broker, { roles: ['approver'] });
    const secret = 'sec_01kjdw0a5vf8h8v0m6gq3r9x2c';
    const refused = await approver.api.delete(`/v1/agents/${agent.id}/secrets/${secret}`).expect(403);
    const [event] = await find(`agent_id=${agent.id}`, refused.headers['x-request-id']);
    expect(event).toMatchObject({ agent_id: agent.id, grant_id: null, object_id: secret });
  });

  it('is found by the refused agent if the request names no other agent', async () => {
    const agent = await createAgent(broker);
    const refused = await (await agent.api()).get('/v1/keys').expect(403);
    const [event] = await find(`agent_id=${agent.id}`, refused.headers['x-request-id']);
    expect(event).toMatchObject({ agent_id: agent.id, grant_id: null, object_id: null });
  });

  it('does not contain path parameters that are not ids', async () => {
    const { key } = await createPerson(broker);
    for (const path of [
      '/v1/grants/grt_nothing/approve',
      `/v1/agents/${'x'.repeat(2000)}/disable`,
      '/v1/admins/hpa_secret/keys',
    ]) {
      const refused = await apiOf(broker, key).post(path).expect(403);
      const [event] = await find('type=access.denied', refused.headers['x-request-id']);
      expect(event).toMatchObject({ agent_id: null, grant_id: null, object_id: null });
    }
  });
});
