import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/platform/clock.ts';
import { type HttpServer, startHttpServer } from '../../src/start/http-server.ts';
import { onlyProbes } from '../../src/start/probes.ts';
import { send, sendRaw } from '../support/http.ts';

/** How many connections this system lets wait for any server (Linux). */
function systemBacklog(): number {
  const file = '/proc/sys/net/core/somaxconn';
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
}

/** Longer than the child waits for its connections. */
const busyMs = 1_500;

/** What is answered where no broker is asked: before it runs, beside it, and to what is no request. */
let server: HttpServer;
let url: string;
beforeEach(async () => {
  server = await startHttpServer({ host: '127.0.0.1', port: 0, clock: systemClock });
  url = `http://127.0.0.1:${server.port}`;
});
afterEach(async () => {
  await server.drain(100);
});

/** An answer as it came over the wire; what it says of its length must be true. */
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
  it('every request is answered 503, as a problem document, and told to come back', async () => {
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

  it('HEAD is answered so, too', async () => {
    const answer = await send({ url }, { method: 'HEAD', path: '/readyz', headers: {} });
    expect([answer.status, answer.text]).toEqual([503, '']);
  });
});

describe('a replica that only works off jobs', () => {
  it('answers probes, and 404 as a problem document to all else', async () => {
    server.serve(onlyProbes((_request, response) => void response.writeHead(204).end()));
    expect((await send({ url }, { method: 'GET', path: '/readyz', headers: {} })).status).toBe(204);
    const answer = await exchange('POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n');
    expect(answer.status).toBe(404);
    expect(JSON.parse(answer.body)).toMatchObject({ status: 404, code: 'not-found' });
  });
});

describe('what is no request', () => {
  it.each([
    [400, 'nonsense', 'nonsense\r\n\r\n'],
    [400, 'a target that is none', 'GET v1/agents HTTP/1.1\r\nHost: a\r\n\r\n'],
    [400, 'a target outside ASCII', 'GET /é HTTP/1.1\r\nHost: a\r\n\r\n'],
    [400, 'a request without Host', 'GET / HTTP/1.1\r\n\r\n'],
    [400, 'two lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'],
    [
      400,
      'a length beside a transfer coding',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [417, 'an expectation nobody knows', 'GET / HTTP/1.1\r\nHost: a\r\nExpect: the-unexpected\r\n\r\n'],
    [431, 'headers that are too large', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`],
  ])('is answered %i, with the headers of every other answer, and the end: %s', async (status, _what, text) => {
    server.serve((_request, response) => void response.writeHead(204).end());
    const answer = await exchange(text);
    expect([answer.status, answer.body]).toEqual([status, '']);
  });

  it('is not answered into the middle of the answer before it', async () => {
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

  it('does not keep requests of HTTP/1.0 out, which have no Host', async () => {
    server.serve((_request, response) => void response.writeHead(204).end());
    expect(await sendRaw({ url }, 'GET / HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 204 /);
  });
});

describe('a thousand clients that connect at the same time', () => {
  it.skipIf(systemBacklog() < 1_000)(
    'are all connected, although the broker is busy: none has to try again a second later',
    async () => {
      const script = join(import.meta.dirname, 'connect.child.ts');
      const child = spawn(process.execPath, ['--import', 'tsx', script, String(server.port), '1000'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      child.stdin.write('now\n');
      // This thread is the broker's, too: it accepts nothing until this ends.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, busyMs);
      const told = JSON.parse(String((await once(child.stdout, 'data'))[0]));
      expect(told).toEqual({ connected: 1000 });
    },
  );
});
