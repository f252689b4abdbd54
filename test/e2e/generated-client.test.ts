import createClient, { type Client, type Middleware } from 'openapi-fetch';
import { beforeAll, describe, expect, it } from 'vitest';
import type { paths } from '../../src/http/api.gen.ts';
import { bootstrapKey, readAtOnce, startBroker, type TestBroker } from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { storyAgent, storyResource } from '../support/story-objects.ts';

/** A client that is generated from openapi.yaml. */
type GeneratedClient = Client<paths>;

let broker: TestBroker;
let admin: GeneratedClient;
beforeAll(async () => {
  broker = await startBroker();
  admin = clientOf(bootstrapKey);
});

function clientOf(credential: string): GeneratedClient {
  const authorise: Middleware = {
    onRequest({ request }) {
      request.headers.set('Authorization', `Bearer ${credential}`);
      return request;
    },
  };
  const client = createClient<paths>({ baseUrl: broker.url });
  client.use(authorise);
  return client;
}

/** Returns the data of a response that must have `status`. */
function expectStatus<T>(answer: { data?: T; error?: unknown; response: Response }, status: number): T {
  expect(answer.error).toBeUndefined();
  expect(answer.response.status).toBe(status);
  if (answer.data === undefined) throw new Error(`${status} without a body`);
  return answer.data;
}

async function createPerson(person: { name: string; roles: ('admin' | 'approver' | 'auditor')[] }) {
  const email = `${person.name.toLowerCase()}@example.com`;
  const { id } = expectStatus(await admin.POST('/v1/admins', { body: { ...person, email } }), 201);
  const path = { admin_id: id };
  const body = { name: 'test' };
  const { key } = expectStatus(
    await admin.POST('/v1/admins/{admin_id}/keys', { params: { path }, body }),
    201,
  );
  return { id, client: clientOf(key) };
}

async function createAgent(owner: string) {
  return expectStatus(await admin.POST('/v1/agents', { body: storyAgent(owner) }), 201);
}

interface Credentials {
  client_id: string;
  client_secret: string;
}

/** Configures the generated client to send forms instead of JSON. */
const formHeaders = { 'Content-Type': 'application/x-www-form-urlencoded' };

async function token(credentials: Credentials, form: Record<string, string> = {}) {
  return createClient<paths>({ baseUrl: broker.url }).POST('/oauth2/token', {
    body: { grant_type: 'client_credentials', ...credentials, ...form },
    headers: formHeaders,
  });
}

async function introspect(credentials: Credentials, accessToken: string) {
  const answer = await createClient<paths>({ baseUrl: broker.url }).POST('/oauth2/introspect', {
    body: { token: accessToken, ...credentials },
    headers: formHeaders,
  });
  return expectStatus(answer, 200);
}

describe('a client generated from openapi.yaml', () => {
  it('performs the whole story of a token: people, resource, policy, agent, grant, approval, token, revocation', async () => {
    const owner = await createPerson({ name: 'Owner', roles: [] });
    const approver = await createPerson({ name: 'Approver', roles: ['approver'] });
    const resource = expectStatus(await admin.POST('/v1/resources', { body: storyResource }), 201);
    const policy = { name: 'reading at once', cedar: readAtOnce };
    expect(expectStatus(await admin.POST('/v1/policies', { body: policy }), 201).version).toBe(1);
    const { client_id, client_secret = '' } = await createAgent(owner.id);
    const credentials = { client_id, client_secret };
    const brokerToken = expectStatus(await token(credentials), 200);
    const agent = clientOf(brokerToken.access_token);

    const request = { resource: resource.identifier, duration_seconds: 600, reason: 'the story' };
    const atOnce = await agent.POST('/v1/grants', { body: { ...request, scopes: ['read'] } });
    expect(expectStatus(atOnce, 201).status).toBe('active');
    const asked = await agent.POST('/v1/grants', { body: { ...request, scopes: ['admin'] } });
    const pending = expectStatus(asked, 202);
    expect(pending.decision.approvals_required).toBe(1);

    const params = { path: { grant_id: pending.id } };
    const waiting = agent.GET('/v1/grants/{grant_id}', { params: { ...params, query: { wait: 30 } } });
    const read = expectStatus(await approver.client.GET('/v1/grants/{grant_id}', { params }), 200);
    const body = { request_digest: read.request_digest, note: 'agreed' };
    const approved = await approver.client.POST('/v1/grants/{grant_id}/approve', { params, body });
    expect(expectStatus(approved, 200).decision.approvals.map(({ by }) => by)).toEqual([approver.id]);
    expect(expectStatus(await waiting, 200).status).toBe('active');

    const form = { resource: resource.identifier, scope: 'admin' };
    const minted = expectStatus(await token(credentials, form), 200);
    expect(minted).toMatchObject({ token_type: 'Bearer', scope: 'admin', grant_id: pending.id });
    expect(await introspect(credentials, minted.access_token)).toMatchObject({
      active: true,
      scope: 'admin',
    });

    const reason = { reason: 'enough' };
    const revoked = await approver.client.POST('/v1/grants/{grant_id}/revoke', { params, body: reason });
    expect(expectStatus(revoked, 200)).toMatchObject({ status: 'revoked', end_reason: 'enough' });
    expect(await introspect(credentials, minted.access_token)).toEqual({ active: false });
    const query = { grant_id: pending.id };
    await eventually(async () => {
      const events = expectStatus(await admin.GET('/v1/audit-events', { params: { query } }), 200);
      expect(events.items.map(({ type }) => type).sort()).toEqual([
        'grant.activated',
        'grant.approved',
        'grant.requested',
        'grant.revoked',
        'token.issued',
      ]);
    });
  });

  it('receives refusals as the typed problem or OAuth error that the contract declares', async () => {
    const owner = await createPerson({ name: 'Other', roles: [] });
    const { client_id, client_secret = '' } = await createAgent(owner.id);
    const brokerToken = expectStatus(await token({ client_id, client_secret }), 200);
    const { data, error, response } = await clientOf(brokerToken.access_token).GET('/v1/admins');
    expect(data).toBeUndefined();
    expect(response.status).toBe(403);
    expect(error).toMatchObject({ code: 'forbidden', status: 403 });

    const refused = await token({ client_id, client_secret: 'hps_wrong' });
    expect(refused.response.status).toBe(401);
    expect(refused.error).toMatchObject({ error: 'invalid_client' });
  });
});
