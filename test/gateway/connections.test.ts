import { connect, type Socket } from 'node:net';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { sendRaw } from '../support/http.ts';
import { readMetrics } from '../support/metrics.ts';
import { bearer, type GatewayScene, outcomesOf, startGateway } from './scene.ts';

let scene: GatewayScene;
let token: string;
let grantId: string;

beforeAll(async () => {
  scene = await startGateway();
});
beforeEach(async () => {
  ({ token, grantId } = await scene.tokenFor(['read', 'write']));
  scene.upstream.requests.length = 0;
});

const head = (line: string, ...more: string[]) => {
  const { host } = new URL(scene.url);
  return `${[line, `Host: ${host}`, `x-api-key: ${token}`, ...more].join('\r\n')}\r\n\r\n`;
};
const path = () => `/${scene.resource.slug}`;

function dial(): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(scene.url).port), '127.0.0.1', () => resolve(socket));
    socket.on('error', () => {});
  });
}

const outcomes = () => outcomesOf(scene, grantId);

describe('pipelined requests', () => {
  it('are refused, so that no request stays open at the upstream when the agent has disconnected', async () => {
    let ended = 0;
    scene.upstream.respond = (_request, response) => {
      response.writeHead(200).write('x');
      response.on('close', () => {
        ended += 1;
      });
    };
    const socket = await dial();
    socket.write(head(`POST ${path()}/stream/x HTTP/1.1`, 'Content-Length: 0'));
    await eventually(async () => expect(scene.upstream.requests).toHaveLength(1));
    socket.write(head(`GET ${path()}/items/7 HTTP/1.1`).repeat(50));
    await eventually(async () => {
      const metrics = await readMetrics(scene.broker.metrics);
      expect(metrics.get('hallpass_gateway_calls_total{outcome="invalid-request"}')).toBe(50);
    });
    expect(scene.upstream.requests).toHaveLength(1);
    socket.destroy();
    await eventually(async () => expect(ended).toBe(1));
    expect(await outcomes()).toEqual(['disconnected']);
  });
});

describe('a client of HTTP/1.0', () => {
  it('is refused, because it would take a response that is cut for a complete one', async () => {
    const received = await sendRaw({ url: scene.url }, head(`GET ${path()}/items/7 HTTP/1.0`));
    expect(received).toMatch(/^HTTP\/1\.1 400 .*requires HTTP\/1\.1/s);
    expect(scene.upstream.requests).toEqual([]);
  });
});

describe('a response that begins before the request is complete', () => {
  it('ends the connection, so that the rest of the body is not taken for a request', async () => {
    const { upstream } = scene;
    const raw = await scene.admin
      .patch(`/v1/resources/${scene.resource.id}`, { upstream: { timeouts: { idle_seconds: 1 } } })
      .expect(200);
    expect(raw.body.upstream.timeouts.idle_seconds).toBe(1);
    upstream.onHeaders = (response) => response.writeHead(413).end('too much');
    const socket = await dial();
    socket.write(head(`POST ${path()}/items HTTP/1.1`, 'Content-Length: 200000'));
    socket.write('x'.repeat(1_000));
    let received = '';
    socket.on('data', (chunk) => {
      received += String(chunk);
    });
    await new Promise((resolve) => socket.once('end', resolve));
    delete upstream.onHeaders;
    expect(received).toMatch(/^HTTP\/1\.1 413 /);
    expect(received).toMatch(/Connection: close/i);
    expect(received).toContain('too much');
    socket.destroy();
    expect(await outcomes()).toEqual(['completed']);
  });
});

describe('an agent that does not read', () => {
  it('is disconnected after idle_seconds, and its call ends', async () => {
    scene.upstream.respond = (_request, response) => {
      response.writeHead(200);
      const more = (): void => {
        while (response.write(Buffer.alloc(65_536)));
        response.once('drain', more);
      };
      more();
    };
    const socket = await dial();
    socket.write(head(`POST ${path()}/stream/x HTTP/1.1`, 'Content-Length: 0'));
    socket.pause();
    expect(await outcomes()).toEqual(['disconnected']);
    socket.destroy();
  });
});

describe('an upstream that only ever sends informational responses', () => {
  it('is answered with 504', async () => {
    const change = { upstream: { timeouts: { response_seconds: 1 } } };
    await scene.admin.patch(`/v1/resources/${scene.resource.id}`, change).expect(200);
    scene.upstream.respond = (_request, response) => {
      const timer = setInterval(() => response.writeProcessing(), 200);
      response.on('close', () => clearInterval(timer));
    };
    const answer = await scene.send({ path: `${path()}/items/7`, headers: bearer(token) });
    expect([answer.status, answer.json.code]).toEqual([504, 'upstream-timeout']);
    expect(answer.headers['hallpass-call-id']).toMatch(/^cal_/);
    expect(await outcomes()).toEqual(['failed']);
  });
});
