import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createAddressRules } from '../../src/outbound/address-rules.ts';
import { createUpstreamClient } from '../../src/outbound/upstream-client.ts';
import { sendRaw } from '../support/http.ts';
import {
  bearer,
  type GatewayScene,
  outcomesOf,
  type SentCall,
  startGateway,
  upstreamSecret,
} from './scene.ts';

let scene: GatewayScene;
let token: string;
let grantId: string;
let slug: string;

beforeAll(async () => {
  scene = await startGateway();
  ({ slug } = scene.resource);
});
beforeEach(async () => {
  ({ token, grantId } = await scene.tokenFor(['read', 'write']));
});

type Respond = GatewayScene['upstream']['respond'];
const respondWith = (respond: Respond): void => {
  scene.upstream.respond = respond;
};
const get = (change: Partial<SentCall> = {}) =>
  scene.send({ path: `/${slug}/items/7`, headers: bearer(token), ...change });

const outcome = async (): Promise<string | undefined> => (await outcomesOf(scene, grantId))[0];

describe('a response of the upstream', () => {
  it.each<[string, Respond]>([
    ['a redirect', (_, response) => response.writeHead(302, { Location: 'http://169.254.169.254/' }).end()],
    ['a permanent redirect', (_, response) => response.writeHead(308, { Location: '/items' }).end()],
    ['compressed', (_, response) => response.writeHead(200, { 'Content-Encoding': 'gzip' }).end('x')],
    [
      'compressed twice',
      (_, response) => response.writeHead(200, { 'Content-Encoding': ['gzip', 'identity'] }).end('x'),
    ],
    [
      'compressed for its transfer',
      (_, { socket }) =>
        socket?.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n'),
    ],
    ['missing', (_, response) => response.destroy()],
    ['not HTTP', (_, response) => response.socket?.end('hello\r\n\r\n')],
  ])('that is %s is answered with 502, and not followed', async (_, respond) => {
    respondWith(respond);
    const before = scene.upstream.requests.length;
    const answer = await get();
    expect([answer.status, answer.json.code]).toEqual([502, 'upstream-failed']);
    expect(answer.headers.location).toBeUndefined();
    expect(scene.upstream.requests).toHaveLength(before + 1);
    expect(await outcome()).toBe('failed');
  });

  it('does not carry cookies, challenges and statements about an origin to the agent', async () => {
    respondWith((_, response) => {
      const headers = {
        'Set-Cookie': 'a=b',
        'WWW-Authenticate': 'Basic',
        'Strict-Transport-Security': 'max-age=1',
      };
      response.writeHead(401, { ...headers, 'Hallpass-Call-Id': 'cal_forged' }).end('no');
    });
    const { status, headers, text } = await get();
    expect([status, text]).toEqual([401, 'no']);
    for (const name of ['set-cookie', 'www-authenticate', 'strict-transport-security'])
      expect(headers[name]).toBeUndefined();
    expect(headers['hallpass-call-id']).toMatch(/^cal_[0-7]/);
  });

  it('that echoes the credential gets asterisks in its place, in headers and across the parts of its body', async () => {
    respondWith((request, response) => {
      const echo = String(request.headers.authorization);
      response.writeHead(200, { 'X-Echo': echo, 'Content-Length': 2 * echo.length });
      response.write(echo.slice(0, 20));
      setTimeout(() => response.end(echo.slice(20) + echo), 20);
    });
    const { headers, text } = await get();
    const masked = `Bearer ${'*'.repeat(upstreamSecret.length)}`;
    expect([headers['x-echo'], text]).toEqual([masked, masked + masked]);
  });

  it.each<[string, Respond]>([
    [
      'is shorter than it says',
      (_, response) => response.writeHead(200, { 'Content-Length': 100 }).end('short'),
    ],
    [
      'breaks off',
      (_, response) => {
        response.write('a part');
        setTimeout(() => response.destroy(), 50);
      },
    ],
  ])('that %s never looks complete', async (_, respond) => {
    respondWith((request, response) => {
      // Node would refuse to send a wrong length.
      response.strictContentLength = false;
      const { socket } = response;
      respond(request, response);
      setTimeout(() => socket?.destroy(), 50);
    });
    await expect(get()).rejects.toThrow();
    expect(await outcome()).toBe('failed');
  });

  it('that does not begin in time is answered with 504', async () => {
    const wait = (seconds: number) => {
      const upstream = { timeouts: { response_seconds: seconds } };
      return scene.admin.patch(`/v1/resources/${scene.resource.id}`, { upstream }).expect(200);
    };
    await wait(1);
    respondWith(() => {});
    const answer = await get();
    expect([answer.status, answer.json.code]).toEqual([504, 'upstream-timeout']);
    expect(await outcome()).toBe('failed');
    await wait(60);
  });
});

describe('a request that is too large', () => {
  const size = 32 * 1024 * 1024 + 1;

  // Nothing is sent after the byte that is too much: a server that closes a connection with unread data resets it.
  it.each([
    ['says so', `Content-Length: ${size}\r\n\r\n`],
    ['does not say so', `Transfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n${'a'.repeat(size)}`],
  ])('and %s is answered with 413', async (_, framing) => {
    respondWith((_request, response) => response.end());
    const before = scene.upstream.requests.length;
    const { host } = new URL(scene.url);
    const head = `POST /${slug}/items HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n`;
    const received = await sendRaw({ url: scene.url }, head + framing);
    expect(received).toMatch(/^HTTP\/1\.1 413 /);
    expect(received).toContain('"code":"content-too-large"');
    expect(scene.upstream.requests).toHaveLength(before);
  });
});

describe('an upstream at an address that is not allowed', () => {
  it('gets no connection', async () => {
    const isAllowed = createAddressRules([]);
    const upstreamClient = createUpstreamClient({ isAllowed, isAllowedInPlaintext: isAllowed });
    const strict = await startGateway({ overrides: { upstreamClient } });
    const { token: other } = await strict.tokenFor();
    const answer = await strict.send({ path: `/${strict.resource.slug}/items/7`, headers: bearer(other) });
    expect([answer.status, answer.json.detail]).toEqual([
      502,
      'the upstream could not be reached: address-not-allowed',
    ]);
    expect(strict.upstream.requests).toEqual([]);
  });
});
