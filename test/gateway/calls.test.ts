import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createAgent, oauthPost, type TestAgent } from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { bearer, expectRefused, type GatewayScene, startGateway, upstreamSecret } from './scene.ts';

let scene: GatewayScene;
let token: string;
let slug: string;

beforeAll(async () => {
  scene = await startGateway();
  ({ token } = await scene.tokenFor(['read', 'write']));
  ({ slug } = scene.resource);
});
beforeEach(() => {
  scene.upstream.requests.length = 0;
  scene.upstream.respond = (_request, response) => {
    response
      .writeHead(200, { 'Content-Type': 'application/json', 'X-Request-Id': 'up-1' })
      .end('{"ok":true}');
  };
});

const lastRequest = () => scene.upstream.requests.at(-1);

describe('a call through the gateway', () => {
  it('reaches the upstream with its credential, and not with that of the agent', async () => {
    const answer = await scene.send({ path: `/${slug}/items/7?page=2&q=a%20b`, headers: bearer(token) });
    expect(answer).toMatchObject({ status: 200, text: '{"ok":true}' });
    expect(answer.headers).toMatchObject({
      'x-request-id': 'up-1',
      'hallpass-call-id': expect.stringMatching(/^cal_/),
    });
    const request = lastRequest();
    expect(request).toMatchObject({ method: 'GET', url: '/items/7?page=2&q=a%20b', body: '' });
    expect(request?.headers.authorization).toBe(`Bearer ${upstreamSecret}`);
    expect(JSON.stringify(request?.rawHeaders)).not.toContain(token);
    expect(request?.headers.host).toBe(new URL(scene.upstream.url).host);
  });

  it.each([
    'x-api-key',
    'api-key',
    'x-goog-api-key',
  ])('is authenticated by %s, as SDKs send it', async (name) => {
    const answer = await scene.send({ path: `/${slug}/items/7`, headers: { [name]: token } });
    expect(answer.status).toBe(200);
    expect(lastRequest()?.headers[name]).toBeUndefined();
  });

  it('passes the body of request and response unchanged, with Content-Length and in chunks', async () => {
    const body = JSON.stringify({ b: 1, a: 1.0, text: 'ü'.repeat(10_000) });
    scene.upstream.respond = (request, response) => response.end(request.body);
    const headers = { ...bearer(token), 'Content-Type': 'application/json' };
    const framings = [
      { 'Content-Length': String(Buffer.byteLength(body)) },
      { 'Transfer-Encoding': 'chunked' },
    ];
    for (const framing of framings) {
      const answer = await scene.send({
        method: 'POST',
        path: `/${slug}/items`,
        headers: { ...headers, ...framing },
        body,
      });
      expect([answer.status, answer.text === body]).toEqual([200, true]);
    }
  });

  it('returns the status and the body of an error of the upstream', async () => {
    scene.upstream.respond = (_request, response) =>
      response.writeHead(429, { 'Retry-After': '7' }).end('slow down');
    const answer = await scene.send({ path: `/${slug}/items/7`, headers: bearer(token) });
    expect(answer).toMatchObject({ status: 429, text: 'slow down', headers: { 'retry-after': '7' } });
  });

  it.each([
    ['HEAD', `items/7`, 200],
    ['GET', '', 200],
  ])('%s /%s is permitted by a route', async (method, path, status) => {
    expect((await scene.send({ method, path: `/${slug}/${path}`, headers: bearer(token) })).status).toBe(
      status,
    );
  });
});

describe('a call is refused', () => {
  const refused = { status: 401, code: 'unauthenticated' };

  it.each<[string, () => Record<string, string>]>([
    ['no credential', () => ({})],
    ['a scheme other than Bearer and DPoP', () => ({ Authorization: `Basic ${token}` })],
    ['a text that is no token', () => bearer('not-a-token')],
    ['a changed token', () => bearer(`${token.slice(0, -4)}AAAA`)],
    ['an unbound token sent as a bound one', () => ({ Authorization: `DPoP ${token}` })],
  ])('with %s', async (_, headers) => {
    const answer = await expectRefused(scene, { path: `/${slug}/items/7`, headers: headers() }, refused);
    expect(answer.headers['www-authenticate']).toMatch(/^(Bearer|DPoP) realm="hallpass"/);
  });

  it('with a broker token, with a token for another resource, and for a slug that does not exist', async () => {
    const broker = (await scene.agent.token().expect(200)).body.access_token;
    await expectRefused(scene, { path: `/${slug}/items/7`, headers: bearer(broker) }, refused);
    const other = await startGateway({ database: scene.broker.database, clock: scene.clock });
    const { token: foreign } = await other.tokenFor(['read']);
    const answers = [
      await expectRefused(scene, { path: `/${slug}/items/7`, headers: bearer(foreign) }, refused),
      await expectRefused(scene, { path: '/nothing/items/7', headers: bearer(token) }, refused),
    ].map(({ json }) => ({ ...json, request_id: '' }));
    expect(answers[0]).toEqual(answers[1]);
  });

  it('with two credentials', async () => {
    const path = `/${slug}/items/7`;
    const several = { status: 400, code: 'invalid-request' };
    await expectRefused(scene, { path, headers: { ...bearer(token), 'x-api-key': token } }, several);
    await expectRefused(scene, { path, headers: { 'api-key': token, 'x-api-key': token } }, several);
    await expectRefused(scene, { path, headers: { 'api-key': [token, token] } }, several);
  });

  it('if no scope of the token has a route for it, and the refusal names the scopes that have one', async () => {
    const { token: reading } = await scene.tokenFor(['read']);
    const notAllowed = { status: 403, code: 'route-not-allowed' };
    const send = (method: string, path: string) =>
      expectRefused(scene, { method, path: `/${slug}${path}`, headers: bearer(reading) }, notAllowed);
    expect((await send('POST', '/items')).json.detail).toContain('write');
    for (const [method, path] of [
      ['DELETE', '/items/7'],
      ['GET', '/items'],
      ['GET', '/items/7/comments'],
      ['GET', '/items/7/'],
      ['GET', '/admin'],
    ] as const)
      await send(method, path);
    const before = scene.upstream.requests.length;
    // A response to HEAD has no body.
    const head = await scene.send({ method: 'HEAD', path: `/${slug}/`, headers: bearer(reading) });
    expect([head.status, head.text]).toEqual([403, '']);
    expect(scene.upstream.requests).toHaveLength(before);
  });

  it.each([
    '/items/../items/7',
    '/items/%2e%2e/items/7',
    '/items%2f7',
    '/items/7;a=b',
    '/items//7',
  ])('for the path %s', async (path) => {
    const call = { path: `/${slug}${path}`, headers: bearer(token) };
    await expectRefused(scene, call, { status: 400, code: 'invalid-request' });
  });

  it('if Host is not the gateway, and if it asks for another protocol', async () => {
    const path = `/${slug}/items/7`;
    const headers = bearer(token);
    const elsewhere = { path, headers: { ...headers, Host: 'evil.example' } };
    await expectRefused(scene, elsewhere, { status: 421, code: 'misdirected-request' });
    const upgrade = { path, headers: { ...headers, Connection: 'Upgrade', Upgrade: 'websocket' } };
    await expectRefused(scene, upgrade, { status: 400, code: 'invalid-request' });
  });

  interface Ending {
    agent: TestAgent;
    token: string;
    grantId: string;
  }

  it.each<[string, (ending: Ending) => PromiseLike<unknown>]>([
    [
      'its grant was revoked',
      (ending) => scene.admin.post(`/v1/grants/${ending.grantId}/revoke`, { reason: 'x' }).expect(200),
    ],
    [
      'its token was revoked',
      (ending) =>
        oauthPost(scene.broker, '/oauth2/revoke', { token: ending.token }, ending.agent).expect(200),
    ],
    [
      'its agent was disabled',
      (ending) => scene.admin.post(`/v1/agents/${ending.agent.id}/disable`).expect(200),
    ],
    ['its token has expired', async () => scene.clock.advance(301)],
  ])('once %s', async (_, end) => {
    const agent = await createAgent(scene.broker);
    const ending = { agent, ...(await scene.tokenFor(['read'], agent)) };
    const call = { path: `/${slug}/items/7`, headers: bearer(ending.token) };
    expect((await scene.send(call)).status).toBe(200);
    await end(ending);
    await expectRefused(scene, call, refused);
    ({ token } = await scene.tokenFor(['read', 'write']));
  });

  it('if its grant ends while the call is recorded', async () => {
    const mine = await scene.tokenFor(['read']);
    const { owner } = scene.broker.database;
    const before = scene.upstream.requests.length;
    await owner.query('begin');
    await owner.query('lock table calls in share mode');
    const sent = scene.send({ path: `/${slug}/items/late`, headers: bearer(mine.token) });
    await eventually(async () => {
      const { rows } = await owner.query(
        "select from pg_locks where not granted and relation = 'calls'::regclass",
      );
      expect(rows.length).toBeGreaterThan(0);
    });
    await scene.admin.post(`/v1/grants/${mine.grantId}/revoke`, { reason: 'x' }).expect(200);
    scene.clock.advance(0.3);
    await owner.query('commit');
    expect((await sent).status).toBe(401);
    expect(scene.upstream.requests).toHaveLength(before);
    await eventually(async () => {
      const { rows } = await owner.query("select outcome from calls where path = '/items/late'");
      expect(rows).toEqual([{ outcome: 'grant-ended' }]);
    });
  });
});
