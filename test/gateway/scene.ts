import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'vitest';
import { createAddressRules } from '../../src/outbound/address-rules.ts';
import { createUpstreamClient } from '../../src/outbound/upstream-client.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { parseIssuer } from '../../src/platform/issuer.ts';
import { startHttpServer } from '../../src/start/http-server.ts';
import { permitAll } from '../oauth/fixtures.ts';
import { atEnd } from '../support/at-end.ts';
import {
  type Api,
  asBootstrap,
  createAgent,
  createPolicy,
  startBroker,
  type TestAgent,
  type TestBroker,
  type TestBrokerOptions,
} from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Answer, send as sendWire, type WireRequest } from '../support/http.ts';

/** A call to the gateway; GET unless it says otherwise. */
export type SentCall = Partial<WireRequest> & Pick<WireRequest, 'path'>;

/** The secret of the upstream, which no agent and no log may ever see. */
export const upstreamSecret = 'sk-upstream-canary-0123456789';

export interface UpstreamRequest {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  rawHeaders: string[];
  body: string;
}

export interface TestUpstream {
  url: string;
  /** The requests so far, each recorded when its body has arrived. */
  requests: UpstreamRequest[];
  /** Responds before the body has arrived, if a test sets it. */
  onHeaders?: (response: ServerResponse) => void;
  /** How it responds. Tests change it. */
  respond: (request: UpstreamRequest, response: ServerResponse) => void;
}

const respondWell = (_request: UpstreamRequest, response: ServerResponse): void => {
  response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"ok":true}');
};

/** Starts an API over plain HTTP on loopback. */
export async function startUpstream(): Promise<TestUpstream> {
  const upstream: TestUpstream = { url: '', requests: [], respond: respondWell };
  const server = createServer((request, response) => {
    if (upstream.onHeaders !== undefined) {
      upstream.onHeaders(response);
      return;
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers, rawHeaders } = request;
      const received = { method, url, headers, rawHeaders, body: Buffer.concat(chunks).toString() };
      upstream.requests.push(received);
      upstream.respond(received, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  upstream.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  atEnd(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return upstream;
}

export interface GatewayScene {
  broker: TestBroker;
  clock: FakeClock;
  admin: Api;
  agent: TestAgent;
  upstream: TestUpstream;
  /** The origin of the gateway. */
  url: string;
  /** A resource of kind http with the slug `api`, and its scopes. */
  resource: { id: string; identifier: string; slug: string };
  /** Gets an access token of the agent, under a new grant with these scopes. */
  tokenFor(scopes?: string[], agent?: TestAgent): Promise<{ token: string; grantId: string }>;
  /** Sends a call and reads its response. */
  send(call: SentCall): Promise<Answer>;
}

export const routes = {
  read: [
    { methods: ['GET', 'HEAD'], path: '/items/{id}' },
    { methods: ['GET'], path: '/' },
  ],
  write: [
    { methods: ['POST', 'PUT'], path: '/items' },
    { methods: ['POST'], path: '/stream/**' },
  ],
};

let resources = 0;

/** The body of a resource behind the gateway. */
export function apiBody(baseUrl: string, change: Record<string, unknown> = {}) {
  resources += 1;
  return {
    identifier: `https://items-${resources}.example`,
    name: 'Items',
    kind: 'http',
    slug: `items-${resources}`,
    max_grant_seconds: 7200,
    upstream: {
      base_url: baseUrl,
      protocol: 'plain',
      credential: { type: 'bearer', secret: upstreamSecret },
    },
    scopes: [
      { name: 'read', description: 'Read items', risk: 'low', routes: routes.read },
      { name: 'write', description: 'Change items', risk: 'medium', routes: routes.write },
    ],
    ...change,
  };
}

/** Starts a broker with its gateway, an upstream on loopback, and an agent. */
export async function startGateway(options: TestBrokerOptions = {}): Promise<GatewayScene> {
  const clock = (options.clock as FakeClock | undefined) ?? new FakeClock();
  const server = await startHttpServer({ host: '127.0.0.1', port: 0, clock: systemClock });
  const url = `http://127.0.0.1:${server.port}`;
  const isAllowed = createAddressRules(['127.0.0.0/8']);
  const upstreamClient = createUpstreamClient({ isAllowed, isAllowedInPlaintext: isAllowed });
  const broker = await startBroker({
    ...options,
    clock,
    config: { ...options.config, gatewayUrl: parseIssuer(url) },
    overrides: { upstreamClient, ...options.overrides },
  });
  if (broker.gateway === undefined) throw new Error('the broker has no gateway');
  server.serve(broker.gateway);
  atEnd(() => server.drain({ graceMs: 0, deadlineMs: 0 }));
  if (options.database === undefined) await createPolicy(broker, permitAll);
  const upstream = await startUpstream();
  const admin = asBootstrap(broker);
  const agent = await createAgent(broker);
  const { body: resource } = await admin.post('/v1/resources', apiBody(upstream.url)).expect(201);
  const tokenFor = async (scopes = ['read'], by = agent) => {
    const asked = { resource: resource.identifier, scopes, duration_seconds: 3600, reason: 'test' };
    const { body } = await (await by.api()).post('/v1/grants', asked).expect(201);
    const form = { resource: resource.identifier, grant_id: body.id };
    const issued = await by.token(form).expect(200);
    return { token: issued.body.access_token as string, grantId: body.id as string };
  };
  const send = (call: SentCall) => sendWire({ url }, { method: 'GET', headers: {}, ...call });
  return { broker, clock, admin, agent, upstream, url, resource, tokenFor, send };
}

export const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

/** Returns the outcomes of the calls under a grant, when all have ended. */
export async function outcomesOf({ admin }: GatewayScene, grantId: string): Promise<string[]> {
  return eventually(async () => {
    const { body } = await admin.get(`/v1/calls?grant_id=${grantId}`).expect(200);
    const found: (string | null)[] = body.items.map(({ outcome }: { outcome: string | null }) => outcome);
    expect(found.length).toBeGreaterThan(0);
    expect(found).not.toContain(null);
    return found as string[];
  });
}

/** Lets the servers of this process handle everything that has reached their sockets. */
export async function handleAll(): Promise<void> {
  for (let n = 0; n < 50; n += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Asserts that a call is refused with this code, and that the upstream did not get it. */
export async function expectRefused(
  { send, upstream }: GatewayScene,
  call: SentCall,
  { status, code }: { status: number; code: string },
): Promise<Answer> {
  const before = upstream.requests.length;
  const refused = await send(call);
  expect([refused.status, refused.json.code]).toEqual([status, code]);
  expect(upstream.requests).toHaveLength(before);
  return refused;
}
