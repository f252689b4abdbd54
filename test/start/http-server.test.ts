import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/platform/clock.ts';
import { type HttpServer, startHttpServer } from '../../src/start/http-server.ts';
import { onlyProbes } from '../../src/start/probes.ts';
import { send, sendRaw } from '../support/http.ts';

/** Returns how many connections this system queues for a server that does not accept them yet (Linux). */
function systemBacklog(): number {
  const file = '/proc/sys/net/core/somaxconn';
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
}

/** The longest time for which the thread is blocked, and the interval of its checks. */
const longestMs = 60_000;
const stepMs = 20;

/**
 * Tests of the responses that the HTTP server writes without a broker: before the broker runs, and to bytes that are
 * not a valid request.
 */
let server: HttpServer;
let url: string;
beforeEach(async () => {
  server = await startHttpServer({ host: '127.0.0.1', port: 0, clock: systemClock });
  url = `http://127.0.0.1:${server.port}`;
});
afterEach(async () => {
  await server.drain({ graceMs: 0, deadlineMs: 100 });
});

/** Parses a response as it was received. Its Content-Length must be correct. */
function parse(answer: string) {
  const end = answer.indexOf('\r\n\r\n');
  const [statusLine = '', ...lines] = answer.slice(0, end).split('\r\n');
  const headers = new Map(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(': ');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 2)];
    }),
  );
  const body = answer.slice(end + 4);
  expect(headers.size).toBe(lines.length);
  expect(headers.get('content-length')).toBe(String(Buffer.byteLength(body)));
  return { status: Number(statusLine.split(' ')[1]), headers, body };
}

async function exchange(text: string) {
  const answer = parse(await sendRaw({ url }, text));
  expect(answer.headers.get('connection')).toBe('close');
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
  expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'");
  expect(answer.headers.get('strict-transport-security')).toContain('max-age');
  expect(answer.headers.get('date')).toMatch(/ GMT$/);
  return answer;
}

describe('before the broker runs', () => {
  it('every request gets a 503 with a problem document and Retry-After', async () => {
    const answer = await exchange('GET /v1/agents HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(JSON.parse(answer.body)).toEqual({
      type: 'urn:hallpass:error:unavailable',
      title: 'Temporarily unavailable',
      status: 503,
      code: 'unavailable',
    });
  });

  it('HEAD gets the same response, without a body', async () => {
    const answer = await send({ url }, { method: 'HEAD', path: '/readyz', headers: {} });
    expect([answer.status, answer.text]).toEqual([503, '']);
  });
});

describe('a replica that only runs jobs', () => {
  it('serves probes, and responds to everything else with 404 and a problem document', async () => {
    server.serve(onlyProbes((_request, response) => void response.writeHead(204).end()));
    expect((await send({ url }, { method: 'GET', path: '/readyz', headers: {} })).status).toBe(204);
    const answer = await exchange('POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n');
    expect(answer.status).toBe(404);
    expect(JSON.parse(answer.body)).toMatchObject({ status: 404, code: 'not-found' });
  });
});

describe('a message that is not a valid request', () => {
  it.each([
    [400, 'nonsense', 'nonsense\r\n\r\n'],
    [400, 'a target that is not valid', 'GET v1/agents HTTP/1.1\r\nHost: a\r\n\r\n'],
    [400, 'a target outside ASCII', 'GET /é HTTP/1.1\r\nHost: a\r\n\r\n'],
    [400, 'a request without Host', 'GET / HTTP/1.1\r\n\r\n'],
    [400, 'two lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'],
    [
      400,
      'both Content-Length and Transfer-Encoding',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [417, 'an unknown expectation', 'GET / HTTP/1.1\r\nHost: a\r\nExpect: the-unexpected\r\n\r\n'],
    [431, 'headers that are too large', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`],
  ])('gets a %i with the headers of every other response, and the connection is closed: %s', async (status, _what, text) => {
    server.serve((_request, response) => void response.writeHead(204).end());
    const answer = await exchange(text);
    expect([answer.status, answer.body]).toEqual([status, '']);
  });

  it('gets no response if another response has begun', async () => {
    server.serve((_request, response) => {
      response.writeHead(200, { 'Content-Length': 100 });
      response.write('half');
    });
    const socket = connect(server.port, '127.0.0.1');
    let received = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      if (received === '') socket.write('nonsense\r\n\r\n');
      received += chunk;
    });
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(received.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(received).toMatch(/half$/);
  });

  it('does not include an HTTP/1.0 request without Host, which is served', async () => {
    server.serve((_request, response) => void response.writeHead(204).end());
    expect(await sendRaw({ url }, 'GET / HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 204 /);
  });
});

/** Blocks this thread until `check` is true. Returns whether it became true in time. */
function blockUntil(check: () => boolean): boolean {
  for (let waitedMs = 0; waitedMs < longestMs; waitedMs += stepMs) {
    if (check()) return true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, stepMs);
  }
  return false;
}

describe('a thousand clients that connect at the same time', () => {
  it.skipIf(systemBacklog() < 1_000)(
    'are all connected, although the broker is busy: no connection has to be retried a second later',
    async () => {
      const directory = mkdtempSync(join(tmpdir(), 'hallpass-connect-'));
      const connected = join(directory, 'connected');
      const args = [join(import.meta.dirname, 'connect.child.ts'), String(server.port), '1000', connected];
      const child = spawn(process.execPath, ['--import', 'tsx', ...args], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      child.stdin.write('now\n');
      // This thread also runs the broker, which accepts nothing meanwhile. So only connections that have a place in
      // the queue
      // are open.
      expect(blockUntil(() => existsSync(connected))).toBe(true);
      child.stdin.end();
      await once(child, 'exit');
      rmSync(directory, { recursive: true });
    },
  );
});

describe('a server that is drained', () => {
  const request = (path: string): string => `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}`;

  it('answers requests that were pipelined before, and only the last response closes the connection', async () => {
    const waiting: (() => void)[] = [];
    server.serve((_request, response) => waiting.push(() => response.end('x')));
    const answers = sendRaw({ url }, request('/first') + request('/second'));
    while (waiting.length < 2) await new Promise((resolve) => setImmediate(resolve));
    const drained = server.drain({ graceMs: 0, deadlineMs: 5_000 });
    for (const answer of waiting) answer();
    const [first = '', second = ''] = (await answers).split(/(?=HTTP\/1\.1 )/);
    expect(first).not.toMatch(/connection: close/i);
    expect(second).toMatch(/connection: close/i);
    expect(await drained).toBe(true);
  });

  it('does not handle a request that comes after a response with Connection: close', async () => {
    const paths: string[] = [];
    let finish: () => void = () => {};
    server.serve((incoming, response) => {
      paths.push(incoming.url ?? '');
      response.writeHead(200).flushHeaders();
      finish = () => response.end('x');
    });
    server.closeAfterResponses();
    const socket = connect(server.port, '127.0.0.1');
    socket.write(request('/first'));
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk;
    });
    await once(socket, 'data');
    expect(received).toMatch(/connection: close/i);
    socket.write(request('/second'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    finish();
    await once(socket, 'close');
    expect(paths).toEqual(['/first']);
  });

  it('closes an idle connection after the grace, and answers a request that arrives within it', async () => {
    server.serve((_request, response) => response.end('x'));
    const [idle, late] = [connect(server.port, '127.0.0.1'), connect(server.port, '127.0.0.1')];
    await Promise.all([once(idle, 'connect'), once(late, 'connect')]);
    await send({ url }, { method: 'GET', path: '/', headers: {} });
    const drained = server.drain({ graceMs: 300, deadlineMs: 5_000 });
    late.write(request('/late'));
    const [answer] = await once(late, 'data');
    expect(String(answer)).toMatch(/^HTTP\/1\.1 200 [\s\S]*connection: close/i);
    idle.resume();
    await once(idle, 'end');
    idle.end();
    expect(await drained).toBe(true);
  });

  it('cuts off a request that is in progress at the deadline, and returns false', async () => {
    server.serve(() => {});
    const socket = connect(server.port, '127.0.0.1').on('error', () => {});
    socket.write(request('/never'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await server.drain({ graceMs: 0, deadlineMs: 200 })).toBe(false);
  });
});
