import { request as httpRequest } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  agentOf,
  asBootstrap,
  createAgent,
  createPerson,
  createResource,
  grantRequest,
  startBroker,
  type TestBroker,
  type TestPerson,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let broker: TestBroker;
let mallory: TestPerson;
let resource: { identifier: string };

beforeAll(async () => {
  broker = await startBroker({ clock });
  mallory = await createPerson(broker, { roles: ['admin', 'approver'], name: 'mallory' });
  await createPerson(broker, { roles: ['approver'], name: 'other' });
  resource = await createResource(broker);
});

/** Creates an agent of another owner, and a secret of it that Mallory issued. */
async function infiltrate(secret: { expires_at?: string } = {}) {
  const { id } = await createAgent(broker);
  const { body } = await mallory.api.post(`/v1/agents/${id}/secrets`, secret).expect(201);
  const puppet = agentOf(broker, { id, secret: body.client_secret });
  const token = (await puppet.token().expect(200)).body.access_token as string;
  return { id, secretId: body.id as string, token };
}

interface SlowRequest {
  /** Sends the rest of the body. Returns the response. */
  finish(): Promise<{ status: number; body: { id: string; request_digest: string; code?: string } }>;
}

/** Begins a request: sends the headers and the first bytes, but not the rest of the body. */
async function startSlowly(path: string, token: string, body: object): Promise<SlowRequest> {
  const text = JSON.stringify(body);
  const headers = {
    Authorization: `Bearer ${token}`,
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
  };
  const request = httpRequest(`${broker.url}${path}`, { method: 'POST', headers });
  const answered = new Promise<Awaited<ReturnType<SlowRequest['finish']>>>((resolve, reject) => {
    request.once('error', reject);
    request.once('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('end', () => {
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) });
      });
    });
  });
  request.write(text.slice(0, 5));
  // When a later request to the same server is answered, the headers above have been read.
  for (let i = 0; i < 5; i += 1) await asBootstrap(broker).get('/v1/admins?limit=1').expect(200);
  return {
    finish: () => {
      request.end(text.slice(5));
      return answered;
    },
  };
}

const approve = ({ id, request_digest }: { id: string; request_digest: string }) =>
  mallory.api.post(`/v1/grants/${id}/approve`, { request_digest });

describe('a person who could act as the agent', () => {
  it('cannot approve a request that the agent makes after their secret has expired, because a token outlives it', async () => {
    const expires_at = new Date(clock.now().getTime() + 10_000).toISOString();
    const { token } = await infiltrate({ expires_at });
    clock.advance(20);
    const asked = await startSlowly('/v1/grants', token, grantRequest(resource.identifier));
    const { status, body } = await asked.finish();
    expect(status).toBe(202);
    expect((await approve(body).expect(403)).body.code).toBe('self-approval');
  });

  it('gets no grant by delaying the body of a request until the secret was revoked', async () => {
    const { id, secretId, token } = await infiltrate();
    const asked = await startSlowly('/v1/grants', token, grantRequest(resource.identifier));
    await mallory.api.delete(`/v1/agents/${id}/secrets/${secretId}`).expect(204);
    expect((await asked.finish()).status).toBe(401);
  });
});

describe('a former owner of the agent', () => {
  /** Creates a request of an agent that Mallory owned until `seconds` before. */
  async function askAfter(seconds: number) {
    const owned = await createAgent(broker, { owner: mallory.id });
    const { id: owner } = await createPerson(broker, { roles: [], name: 'successor' });
    await asBootstrap(broker).patch(`/v1/agents/${owned.id}`, { owner }).expect(200);
    clock.advance(seconds);
    const api = await owned.api();
    return (await api.post('/v1/grants', grantRequest(resource.identifier)).expect(202)).body;
  }

  it('cannot approve if they owned it a minute before the request', async () => {
    expect((await approve(await askAfter(60)).expect(403)).body.code).toBe('self-approval');
  });

  it('may approve if they owned it two hours before the request', async () => {
    expect((await approve(await askAfter(7_200)).expect(200)).body.status).toBe('active');
  });

  it('cannot approve if they owned it for a moment after the request', async () => {
    const agent = await createAgent(broker);
    const api = await agent.api();
    const { body } = await api.post('/v1/grants', grantRequest(resource.identifier)).expect(202);
    const { owner } = (await asBootstrap(broker).get(`/v1/agents/${agent.id}`).expect(200)).body;
    for (const next of [mallory.id, owner]) {
      clock.advance(1);
      await asBootstrap(broker).patch(`/v1/agents/${agent.id}`, { owner: next }).expect(200);
    }
    clock.advance(7_200);
    expect((await approve(body).expect(403)).body.code).toBe('self-approval');
  });
});

describe('a role that is removed', () => {
  it('no longer applies to a request whose body arrives later', async () => {
    const leaving = await createPerson(broker, { roles: ['admin'], name: 'leaving' });
    const puppet = await createPerson(broker, { roles: ['admin'], name: 'puppet' });
    const demoted = await createPerson(broker, { roles: ['admin'], name: 'demoted' });
    const path = `/v1/admins/${puppet.id}/keys`;
    const [kept, lower] = [
      await startSlowly(path, leaving.key, { name: 'back door' }),
      await startSlowly(path, demoted.key, { name: 'back door' }),
    ];
    await asBootstrap(broker).delete(`/v1/admins/${leaving.id}`).expect(204);
    await asBootstrap(broker).patch(`/v1/admins/${demoted.id}`, { roles: [] }).expect(200);
    expect((await kept.finish()).status).toBe(401);
    expect((await lower.finish()).status).toBe(403);
    const { keys } = (await asBootstrap(broker).get(`/v1/admins/${puppet.id}`).expect(200)).body;
    expect(keys.map(({ name }: { name: string }) => name)).toEqual(['test']);
  });
});
