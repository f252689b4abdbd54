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
  type TestBroker,
  type TestPerson,
} from '../support/broker.ts';
import { parallel } from '../support/count.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let broker: TestBroker;
let replica: TestBroker;
let token: string;
let api: Api;
let approver: TestPerson;
let resource: { id: string; identifier: string };

beforeAll(async () => {
  broker = await startBroker({ clock });
  replica = await startBroker({ clock, database: broker.database });
  await createPolicy(broker, readAtOnce);
  const agent = await createAgent(broker);
  token = (await agent.token().expect(200)).body.access_token;
  api = apiOf(broker, token);
  approver = await createPerson(broker, { roles: ['approver'] });
  resource = await createResource(broker);
});

async function pending() {
  const { body } = await api
    .post('/v1/grants', grantRequest(resource.identifier, { scopes: ['write'] }))
    .expect(202);
  return { path: `/v1/grants/${body.id}`, request_digest: body.request_digest as string };
}

/** Starts a long poll. Resolves when it waits, which its timer shows. */
async function poll(of: Api, path: string, etag?: string) {
  const before = clock.timers;
  const request = of.get(path);
  const answer = (etag === undefined ? request : request.set('If-None-Match', etag)).then(
    (response) => response,
  );
  let done = false;
  void answer.then(() => {
    done = true;
  });
  while (clock.timers === before && !done) await new Promise((resolve) => setImmediate(resolve));
  return { answer, isDone: () => done };
}

describe('a long poll', () => {
  it('is answered at once when this replica decides', async () => {
    const { path, request_digest } = await pending();
    const waiting = await poll(api, `${path}?wait=30`);
    expect(waiting.isDone()).toBe(false);
    await approver.api.post(`${path}/approve`, { request_digest }).expect(200);
    expect((await waiting.answer).body.status).toBe('active');
  });

  it('is answered at the next poll of the database when another replica decides', async () => {
    const { path, request_digest } = await pending();
    const waiting = await poll(api, `${path}?wait=30`);
    await apiOf(replica, approver.key).post(`${path}/approve`, { request_digest }).expect(200);
    clock.advance(0.5);
    expect((await waiting.answer).body.status).toBe('active');
  });

  it('ends after its wait time without a change: still pending, or 304 to a client with that version', async () => {
    const { path } = await pending();
    const first = await api.get(path).expect(200);
    const plain = await poll(api, `${path}?wait=10`);
    const tagged = await poll(api, `${path}?wait=10`, first.headers.etag);
    clock.advance(10);
    expect((await plain.answer).body.status).toBe('pending');
    expect((await tagged.answer).status).toBe(304);
  });

  it('with the current ETag waits for any change, with an older one does not wait', async () => {
    const { body, headers } = await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
    const path = `/v1/grants/${body.id}`;
    const waiting = await poll(api, `${path}?wait=50`, headers.etag);
    expect(waiting.isDone()).toBe(false);
    await api.post(`${path}/return`).expect(200);
    const answered = await waiting.answer;
    expect(answered.body.status).toBe('returned');
    expect(answered.headers.etag).not.toBe(headers.etag);
    await api
      .get(`${path}?wait=50`)
      .set('If-None-Match', headers.etag as string)
      .expect(200);
  });

  it('is answered when only time or an epoch changes the status', async () => {
    const short = grantRequest(resource.identifier, { duration_seconds: 5 });
    const { body, headers } = await api.post('/v1/grants', short).expect(201);
    const waiting = await poll(api, `/v1/grants/${body.id}?wait=50`, headers.etag);
    clock.advance(5);
    expect((await waiting.answer).body.status).toBe('expired');

    const other = await createAgent(broker);
    const asked = grantRequest(resource.identifier, { scopes: ['write'] });
    const made = await (await other.api()).post('/v1/grants', asked).expect(202);
    const watching = await poll(asBootstrap(broker), `/v1/grants/${made.body.id}?wait=50`);
    await asBootstrap(replica).post(`/v1/agents/${other.id}/disable`).expect(200);
    clock.advance(0.5);
    expect((await watching.answer).body.status).toBe('denied');
  });

  it('is refused for more than 55 s, and holds no connection: a hundred long polls wait with a pool of ten connections', async () => {
    const { path, request_digest } = await pending();
    await api.get(`${path}?wait=56`).expect(400);
    const waiting = await parallel(100, () => poll(api, `${path}?wait=30`));
    await api.get('/v1/grants?limit=1').expect(200);
    await approver.api.post(`${path}/approve`, { request_digest }).expect(200);
    const answers = await Promise.all(waiting.map(({ answer }) => answer));
    expect(answers.every(({ body }) => body.status === 'active')).toBe(true);
  });

  it('leaves no timer behind, and is answered when the broker stops', async () => {
    const { path } = await pending();
    const before = clock.timers;
    const waiting = await poll(apiOf(replica, token), `${path}?wait=50`);
    expect(clock.timers).toBeGreaterThan(before);
    await replica.beginShutdown();
    expect((await waiting.answer).body.status).toBe('pending');
    expect(clock.timers).toBe(before);
    await apiOf(replica, undefined).get('/readyz').expect(503);
  });
});
