import supertest from 'supertest';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  agentOf,
  createAgent,
  createResource,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { send } from '../support/http.ts';
import { basicAuth, createServerOf, eventsOf, expectRefusal, formType, postRaw } from './fixtures.ts';

let broker: TestBroker;
let agent: TestAgent;
const clock = new FakeClock();
const grant = 'grant_type=client_credentials';

beforeAll(async () => {
  broker = await startBroker({ clock });
  agent = await createAgent(broker);
});

const malformed = { status: 400, error: 'invalid_request' };

describe('a malformed form is refused before client authentication', () => {
  it.each([
    ['a repeated parameter', `${grant}&${grant}`],
    ['a repeated parameter of which one is empty', `${grant}&scope=&scope=read`],
    ['a repeated parameter in another spelling', `${grant}&%67rant_type=client_credentials`],
    ['a repeated unknown parameter', `${grant}&x=1&x=1`],
    ['over 50 fields', `${grant}${'&a=b'.repeat(50)}`],
    ['broken percent-encoding', `${grant}&scope=%zz`],
    ['NUL', `${grant}&scope=%00`],
    ['a line break', `${grant}&resource=https%3A%2F%2Fa%0d%0ab`],
    ['broken UTF-8', `${grant}&scope=%ff`],
  ])('%s', async (_, body) => {
    await expectRefusal(broker, postRaw(broker, body, basicAuth(agent)), malformed);
  });

  it('several resources', async () => {
    const body = `${grant}&resource=https%3A%2F%2Fa.example&resource=https%3A%2F%2Fb.example&scope=read`;
    const invalidTarget = { status: 400, error: 'invalid_target' };
    await expectRefusal(broker, postRaw(broker, body, basicAuth(agent)), invalidTarget);
  });

  it.each([
    ['JSON', 'application/json', '{"grant_type":"client_credentials"}'],
    [
      'multipart',
      'multipart/form-data; boundary=b',
      '--b\r\nContent-Disposition: form-data; name="grant_type"\r\n\r\nclient_credentials\r\n--b--\r\n',
    ],
    ['text', 'text/plain', grant],
  ])('%s', async (_, type, body) => {
    const request = postRaw(broker, body, { ...basicAuth(agent), 'Content-Type': type });
    await expectRefusal(broker, request, { status: 415, error: 'invalid_request' });
  });

  it('no content type', async () => {
    const wire = { method: 'POST', path: '/oauth2/token', headers: basicAuth(agent), body: grant };
    expect(await send(broker, wire)).toMatchObject({ status: 415, json: { error: 'invalid_request' } });
  });

  it('over 16 kB, in one piece or in chunks, by any amount', async () => {
    const tooLarge = { status: 413, error: 'invalid_request' };
    for (const length of [16_385, 100_000, 1_000_000]) {
      const body = `${grant}&x=`.padEnd(length, 'a');
      await expectRefusal(broker, postRaw(broker, body, basicAuth(agent)), tooLarge);
    }
    const fits = `${grant}&x=`.padEnd(16_384, 'a');
    await postRaw(broker, fits, basicAuth(agent)).expect(200);
  });

  it.each(['get', 'put', 'patch', 'delete', 'options'] as const)('the method %s', async (method) => {
    const request = supertest(broker.url)[method]('/oauth2/token').set(basicAuth(agent));
    const response = await expectRefusal(broker, request, { status: 405, error: 'invalid_request' });
    expect(response.headers.allow).toBe('POST');
  });

  it('credentials in the query', async () => {
    const query = `?client_id=${agent.id}&client_secret=${agent.secret}&${grant}`;
    const request = supertest(broker.url)
      .post(`/oauth2/token${query}`)
      .set('Content-Type', formType)
      .send('');
    const { body } = await expectRefusal(broker, request, malformed);
    expect(body.error_description).toContain('credentials must not be in a URL');
  });
});

describe('malformed client authentication', () => {
  it.each([
    [
      'Basic and a secret in the body',
      (id: string, secret: string) => `&client_id=${id}&client_secret=${secret}`,
    ],
    ['Basic and an assertion', () => '&client_assertion=x'],
    ['another client_id in the body', () => '&client_id=agt_01kjdw0a5vf8h8v0m6gq3r9x2c'],
  ])('is invalid_request for %s', async (_, more) => {
    const body = `${grant}${more(agent.id, agent.secret)}`;
    await expectRefusal(broker, postRaw(broker, body, basicAuth(agent)), malformed);
  });

  it('is invalid_request for two Authorization headers', async () => {
    const { Authorization } = basicAuth(agent);
    const headers = { 'Content-Type': formType, Authorization: [Authorization, Authorization] };
    const answer = await send(broker, { method: 'POST', path: '/oauth2/token', headers, body: grant });
    expect(answer).toMatchObject({ status: 400, json: { error: 'invalid_request' } });
  });

  it('gets the same response for every fault, except for the time and the request id', async () => {
    const resource = await createResource(broker);
    const server = await createServerOf(broker, resource);
    const nobody = 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c';
    const attempts = [
      postRaw(broker, grant, basicAuth({ ...agent, secret: 'hps_wrong' })),
      postRaw(broker, grant, basicAuth({ ...agent, id: nobody })),
      postRaw(broker, grant, basicAuth({ ...agent, id: agent.id.toUpperCase() })),
      postRaw(broker, grant, basicAuth({ ...agent, id: server.id })),
      postRaw(broker, grant, basicAuth({ ...server, id: agent.id })),
      postRaw(broker, grant, basicAuth({ ...agent, id: 'adm_01kjdw0a5vf8h8v0m6gq3r9x2c' })),
      postRaw(broker, grant, basicAuth({ ...agent, id: '%00' })),
      postRaw(broker, grant, basicAuth({ ...agent, secret: '%00' })),
      postRaw(broker, grant, basicAuth({ ...agent, secret: '%E0%A4%A' })),
      postRaw(broker, grant, { Authorization: 'Bearer x' }),
      postRaw(broker, grant, { Authorization: 'Basic !' }),
      postRaw(broker, grant),
      postRaw(broker, `${grant}&client_id=${agent.id}`),
      postRaw(broker, `${grant}&client_id=${agent.id}&client_secret=wrong`),
      postRaw(broker, `${grant}&client_id=${nobody}&client_secret=wrong`),
      postRaw(broker, `scope=read`, basicAuth({ ...agent, secret: 'hps_wrong' })),
    ];
    const answers: unknown[] = [];
    for (const attempt of attempts) {
      const response = await expectRefusal(broker, attempt, { status: 401, error: 'invalid_client' });
      const { date: _, 'x-request-id': __, ...headers } = response.headers;
      answers.push({ body: response.body, headers });
    }
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(answers[0]).toMatchObject({ headers: { 'www-authenticate': /^Basic realm="hallpass"/ } });
  });
});

describe('strangers', () => {
  it('are counted by minute and address, for every kind of refusal, without an audit event for each', async () => {
    const fresh = new FakeClock();
    const own = await startBroker({ clock: fresh });
    const known = await createAgent(own);
    await agentOf(own, { ...known, secret: 'wrong' })
      .token()
      .expect(401);
    await agentOf(own, { ...known, secret: 'wrong' })
      .token()
      .expect(401);
    await postRaw(own, `${grant}&${grant}`, basicAuth(known)).expect(400);
    await postRaw(own, '{}', { 'Content-Type': 'application/json' }).expect(415);
    await known.token({ scope: 'read' }).expect(400);
    fresh.advance(60);
    const counted = await eventually(async () => {
      const events = await eventsOf(own.database, 'strangers.refused');
      expect(events).toHaveLength(1);
      return events;
    });
    expect(counted[0]?.details).toEqual({ address: '127.0.0.1', count: 4 });
    expect(await eventsOf(own.database, 'token.refused')).toHaveLength(1);
  });
});
