import { beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../src/platform/log.ts';
import { createHolder } from '../support/dpop.ts';
import { sendRaw, send as sendWire } from '../support/http.ts';
import {
  bearer,
  expectRefused,
  type GatewayScene,
  type SentCall,
  startGateway,
  upstreamSecret,
} from './scene.ts';

const lines: string[] = [];
let scene: GatewayScene;
let token: string;
let path: string;
let host: string;

beforeAll(async () => {
  scene = await startGateway({ log: createLog('debug', { write: (line) => lines.push(line) }) });
  ({ token } = await scene.tokenFor(['read', 'write']));
  path = `/${scene.resource.slug}/items`;
  host = new URL(scene.url).host;
});

describe('bytes that two servers could read differently', () => {
  const head = (...more: string[]) =>
    [`POST ${path} HTTP/1.1`, `Host: ${host}`, `Authorization: Bearer ${token}`, ...more].join('\r\n');
  const smuggled = () => `GET ${path}/smuggled HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

  it.each<[string, () => string]>([
    [
      'two framings',
      () => `${head('Content-Length: 5', 'Transfer-Encoding: chunked')}\r\n\r\n0\r\n\r\n${smuggled()}`,
    ],
    ['two lengths', () => `${head('Content-Length: 0', 'Content-Length: 44')}\r\n\r\n${smuggled()}`],
    ['a list of lengths', () => `${head('Content-Length: 0, 0')}\r\n\r\n${smuggled()}`],
    [
      'an unknown transfer coding',
      () => `${head('Transfer-Encoding: xchunked')}\r\n\r\n0\r\n\r\n${smuggled()}`,
    ],
    [
      'a coding after chunked',
      () => `${head('Transfer-Encoding: chunked, gzip')}\r\n\r\n0\r\n\r\n${smuggled()}`,
    ],
    [
      'a space before the colon',
      () => `${head('Transfer-Encoding : chunked')}\r\n\r\n0\r\n\r\n${smuggled()}`,
    ],
    ['a folded header', () => `${head('X-A: b', ' c', 'Content-Length: 0')}\r\n\r\n${smuggled()}`],
    [
      'a line that ends with LF alone',
      () => `${head('X-A: b')}\nX-B: c\r\nContent-Length: 0\r\n\r\n${smuggled()}`,
    ],
    ['NUL in a header', () => `${head('X-A: b\0c', 'Content-Length: 0')}\r\n\r\n${smuggled()}`],
    [
      'a chunk size that is no number',
      () => `${head('Transfer-Encoding: chunked')}\r\n\r\nxyz\r\n\r\n${smuggled()}`,
    ],
  ])('with %s never reach the upstream as a second request', async (_, text) => {
    const before = scene.upstream.requests.length;
    const received = await sendRaw({ url: scene.url }, text());
    expect(received).toMatch(/^HTTP\/1\.1 [45]/);
    const urls = scene.upstream.requests.slice(before).map(({ url }) => url);
    expect(urls.filter((url) => url.includes('smuggled'))).toEqual([]);
  });

  it('such as a second Host are refused', async () => {
    const before = scene.upstream.requests.length;
    const received = await sendRaw(
      { url: scene.url },
      `${head('Host: evil.example', 'Content-Length: 0', 'Connection: close')}\r\n\r\n`,
    );
    expect(received).toMatch(/^HTTP\/1\.1 (400|421) /);
    expect(scene.upstream.requests).toHaveLength(before);
  });

  it('such as a target in absolute form are refused', async () => {
    const text = `GET http://${host}${path}/7 HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`;
    expect(await sendRaw({ url: scene.url }, text)).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe('what the headers of an agent say about its network', () => {
  it('does not reach the upstream, nor does a header that Connection names', async () => {
    const headers = {
      ...bearer(token),
      'X-Forwarded-For': '203.0.113.7',
      'X-Forwarded-Host': 'evil.example',
      Forwarded: 'for=203.0.113.7',
      'X-Real-IP': '203.0.113.7',
      Cookie: 'session=1',
      Connection: 'keep-alive, X-Hop',
      'X-Hop': 'evil',
    };
    expect((await scene.send({ path: `${path}/7`, headers })).status).toBe(200);
    const sent = scene.upstream.requests.at(-1)?.rawHeaders.join('\n') ?? '';
    for (const text of ['203.0.113.7', 'evil', 'session=1', token]) expect(sent).not.toContain(text);
  });
});

describe('a header by which a server takes another method, path or client than those of the request', () => {
  it('does not reach the upstream', async () => {
    const headers = {
      ...bearer(token),
      'X-HTTP-Method-Override': 'DELETE',
      X_HTTP_Method_Override: 'DELETE',
      'X-Original-URL': '/evil',
      'X-Rewrite-URL': '/evil',
      X_Forwarded_For: '203.0.113.7',
      'X-Client-IP': '203.0.113.7',
      Range: 'bytes=0-7',
    };
    expect((await scene.send({ path: `${path}/7`, headers })).status).toBe(200);
    const sent = scene.upstream.requests.at(-1)?.rawHeaders.join('\n') ?? '';
    for (const text of ['DELETE', 'evil', '203.0.113.7', 'bytes=']) expect(sent).not.toContain(text);
  });
});

describe('a token that is bound to a key', () => {
  it('needs a proof of the key for the URL at the gateway, and each proof is accepted once', async () => {
    const place = { now: () => scene.clock.now() };
    const atBroker = createHolder(place);
    const form = { resource: scene.resource.identifier };
    const asked = await scene.agent.token(form).set('DPoP', await atBroker.prove('POST', '/oauth2/token'));
    atBroker.nonce = asked.headers['dpop-nonce'];
    const proof = await atBroker.prove('POST', '/oauth2/token');
    const bound = (await scene.agent.token(form).set('DPoP', proof).expect(200)).body.access_token;
    const holder = createHolder({ ...place, issuer: scene.url }, atBroker.key);
    const call = `${path}/7`;
    const refused = { status: 401, code: 'unauthenticated' };
    await expectRefused(scene, { path: call, headers: bearer(bound) }, refused);
    await expectRefused(scene, { path: call, headers: { 'x-api-key': bound } }, refused);
    await expectRefused(scene, { path: call, headers: { Authorization: `DPoP ${bound}` } }, refused);
    const withProof = async (terms: Parameters<typeof holder.prove>[2], by = holder) => ({
      Authorization: `DPoP ${bound}`,
      DPoP: await by.prove('GET', call, { token: bound, ...terms }),
    });
    const first = await expectRefused(scene, { path: call, headers: await withProof({}) }, refused);
    expect(first.headers['www-authenticate']).toContain('use_dpop_nonce');
    holder.nonce = String(first.headers['dpop-nonce']);
    const good = await withProof({});
    expect((await scene.send({ path: call, headers: good })).status).toBe(200);
    expect(scene.upstream.requests.at(-1)?.headers.dpop).toBeUndefined();
    await expectRefused(scene, { path: call, headers: good }, refused);
    const htu = `https://hallpass.test${call}`;
    await expectRefused(scene, { path: call, headers: await withProof({ claims: { htu } }) }, refused);
    const stranger = createHolder({ ...place, issuer: scene.url });
    stranger.nonce = holder.nonce;
    await expectRefused(scene, { path: call, headers: await withProof({}, stranger) }, refused);
  });
});

describe('a second copy of the token', () => {
  it.each<[string, () => SentCall]>([
    ['the query', () => ({ path: `${path}/7?key=${token}` })],
    ['the path', () => ({ path: `${path}/${token}` })],
    ['another header', () => ({ path: `${path}/7`, headers: { 'X-Debug': `token ${token}` } })],
  ])('in %s is refused, because the upstream would get it', async (_, callOf) => {
    const call = callOf();
    const headers = { ...call.headers, ...bearer(token) };
    await expectRefused(scene, { ...call, headers }, { status: 400, code: 'invalid-request' });
  });
});

describe('the secret of the upstream', () => {
  it('is in no log line, also when the upstream fails, and neither is a token', async () => {
    scene.upstream.respond = (_request, response) => response.destroy();
    expect((await scene.send({ path: `${path}/7`, headers: bearer(token) })).status).toBe(502);
    const log = lines.join('');
    expect(log).toContain('"operation":"gateway"');
    for (const secret of [upstreamSecret, token]) expect(log).not.toContain(secret);
  });
});

describe('guessing of tokens', () => {
  it('is limited by address, before a token is looked up', async () => {
    const limited = await startGateway({ config: { rateLimitPerSecond: 50 } });
    const call = { method: 'GET', path: '/x/y', headers: bearer('guess') };
    for (let n = 0; n < 5; n += 1) expect((await sendWire({ url: limited.url }, call)).status).toBe(401);
    const answer = await sendWire({ url: limited.url }, call);
    expect([answer.status, answer.json.code]).toEqual([429, 'rate-limited']);
    expect(answer.headers['retry-after']).toBeDefined();
  });
});
