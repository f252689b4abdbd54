import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import supertest from 'supertest';
import { type Broker, type BrokerConfig, compose, type Overrides } from '../../src/compose.ts';
import { type CompiledContract, compileContract } from '../../src/http/compiled-contract.ts';
import type { Clock } from '../../src/platform/clock.ts';
import { createLog, type Log } from '../../src/platform/log.ts';
import { createFakeServer, fakeEngines } from '../engines/fake-engine.ts';
import { atEnd } from './at-end.ts';
import { createResponseCheck } from './check-responses.ts';
import { recordCoverage } from './contract-coverage.ts';
import { FakeClock } from './fake-clock.ts';
import { templateStart } from './templates.ts';
import { bootstrapKey, testConfig } from './test-config.ts';
import { createTestDatabase, type TestDatabase } from './test-database.ts';

export { bootstrapKey, testConfig, testIssuer, testMasterKey } from './test-config.ts';

/** The log of test brokers: silent, unless HALLPASS_TEST_LOG names a level. */
const testLog = createLog((process.env.HALLPASS_TEST_LOG ?? 'silent') as 'silent', {
  write: (line) => process.stderr.write(line),
});

/** The password of the admin account in the fake target of a test broker. */
const fakeTargetPassword = 'the password of the fake target';

export interface TestBroker extends Broker {
  database: TestDatabase;
  server: Server;
  url: string;
}

export interface TestBrokerOptions {
  clock?: Clock;
  log?: Log;
  config?: Partial<BrokerConfig>;
  /** The database of another broker, to start a second replica. */
  database?: TestDatabase;
  overrides?: Partial<Overrides>;
}

/** Starts a complete broker with its own database on a loopback port; closed when the test file ends. */
export async function startBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const { clock = new FakeClock() } = options;
  const database = options.database ?? (await createTestDatabase(templateFor(clock, options.config)));
  const config: BrokerConfig = { ...testConfig(database.url), ...options.config };
  const broker = await compose(config, {
    clock,
    log: options.log ?? testLog,
    contract: testContract(),
    observe: recordCoverage,
    engines: fakeEngines(createFakeServer(fakeTargetPassword)),
    ...options.overrides,
  });
  // As in production: with Node's 5 s, a slow test sends a request into a connection that is closing.
  const server = createServer({ keepAliveTimeout: 75_000 }, broker.app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  atEnd(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await broker.close();
  });
  return { ...broker, database, server, url };
}

/** Returns the template on which a broker has started if this start would do the same, otherwise the empty one. */
function templateFor(clock: Clock, config: Partial<BrokerConfig> = {}): 'started' | 'empty' {
  const isSameStart = clock.now().getTime() === templateStart().getTime();
  return isSameStart && config.masterKey === undefined && config.bootstrapAdminKey === undefined
    ? 'started'
    : 'empty';
}

let compiled: CompiledContract | undefined;

/** Compiles the contract, with a check of all responses, once per process: it takes as long as the rest of a start. */
function testContract(): CompiledContract {
  if (compiled === undefined) {
    const contract = compileContract();
    compiled = { ...contract, validator: [...contract.validator, createResponseCheck(contract.document)] };
  }
  return compiled;
}

export type Api = ReturnType<typeof apiOf>;

/** Returns the requests of one caller: supertest with its bearer credential. */
export function apiOf(broker: { url: string }, credential: string | undefined) {
  const client = supertest(broker.url);
  const authorise = (request: supertest.Test): supertest.Test =>
    credential === undefined ? request : request.set('Authorization', `Bearer ${credential}`);
  return {
    get: (path: string) => authorise(client.get(path)),
    post: (path: string, body: object = {}) => authorise(client.post(path)).send(body),
    patch: (path: string, body: object) => authorise(client.patch(path)).send(body),
    put: (path: string, body: object) => authorise(client.put(path)).send(body),
    delete: (path: string) => authorise(client.delete(path)),
  };
}

export function asBootstrap(broker: { url: string }): Api {
  return apiOf(broker, bootstrapKey);
}

export interface TestPerson {
  id: string;
  key: string;
  api: Api;
}

/** Creates a person and a key for them. */
export async function createPerson(
  broker: { url: string },
  person: { roles?: string[]; groups?: string[]; name?: string } = {},
): Promise<TestPerson> {
  const admin = asBootstrap(broker);
  const name = person.name ?? 'person';
  const created = await admin
    .post('/v1/admins', {
      name,
      email: `${name}-${randomBytes(6).toString('hex')}@example.com`,
      roles: person.roles ?? [],
      groups: person.groups ?? [],
    })
    .expect(201);
  const issued = await admin.post(`/v1/admins/${created.body.id}/keys`, { name: 'test' }).expect(201);
  return { id: created.body.id, key: issued.body.key, api: apiOf(broker, issued.body.key) };
}

export interface TestAgent {
  id: string;
  secret: string;
  /** Posts a form to the token endpoint, authenticated with client_secret_basic. */
  token(form?: Record<string, string>): supertest.Test;
  /** Returns requests to `/v1` with a new broker token. */
  api(): Promise<Api>;
}

/** Creates an agent, owned by a new person (or by `owner`). */
export async function createAgent(
  broker: { url: string },
  options: {
    owner?: string;
    environment?: string;
    labels?: string[];
    expires_at?: string;
    name?: string;
  } = {},
): Promise<TestAgent> {
  const { owner = (await createPerson(broker, { name: 'owner' })).id, ...rest } = options;
  const created = await asBootstrap(broker)
    .post('/v1/agents', {
      name: 'agent',
      environment: 'development',
      token_endpoint_auth_method: 'client_secret_basic',
      ...rest,
      owner,
    })
    .expect(201);
  return agentOf(broker, { id: created.body.id, secret: created.body.client_secret });
}

export function agentOf(broker: { url: string }, client: { id: string; secret: string }): TestAgent {
  const token = (form: Record<string, string> = {}): supertest.Test =>
    oauthPost(broker, '/oauth2/token', { grant_type: 'client_credentials', ...form }, client);
  return {
    ...client,
    token,
    async api() {
      const issued = await token().expect(200);
      return apiOf(broker, issued.body.access_token);
    },
  };
}

/** Posts a form to /oauth2, with client_secret_basic if there is a client. */
export function oauthPost(
  broker: { url: string },
  path: string,
  form: Record<string, string>,
  client?: { id: string; secret: string },
): supertest.Test {
  const request = supertest(broker.url).post(path).type('form').send(form);
  return client === undefined ? request : request.auth(client.id, client.secret);
}

let resources = 0;

/** Creates a resource with a low-risk scope `read`, a medium-risk `write` and a high-risk `admin`. */
export async function createResource(
  broker: { url: string },
  options: Record<string, unknown> = {},
): Promise<{ id: string; identifier: string }> {
  resources += 1;
  const created = await asBootstrap(broker)
    .post('/v1/resources', {
      identifier: `https://api-${resources}.example`,
      name: 'API',
      kind: 'api',
      scopes: [
        { name: 'read', description: 'Read everything', risk: 'low' },
        { name: 'write', description: 'Change things', risk: 'medium' },
        { name: 'admin', description: 'Run the place', risk: 'high' },
      ],
      max_grant_seconds: 7200,
      ...options,
    })
    .expect(201);
  return { id: created.body.id, identifier: created.body.identifier };
}

/** A policy that permits low-risk scopes at once for up to an hour; the default policy decides the rest. */
export const readAtOnce =
  'permit(principal, action == Action::"request", resource) when { context.max_risk == "low" && context.duration_seconds <= 3600 };';

export async function createPolicy(broker: { url: string }, cedar: string): Promise<string> {
  const name = `policy ${randomBytes(6).toString('hex')}`;
  const created = await asBootstrap(broker).post('/v1/policies', { name, cedar }).expect(201);
  return created.body.id;
}

/** Returns the body of a request for a grant. */
export function grantRequest(resource: string, request: Record<string, unknown> = {}) {
  return { resource, scopes: ['read'], duration_seconds: 600, reason: 'because', ...request };
}

/** Returns what a resource of kind `http` has more: a slug, an upstream, and a low-risk scope `read` with a route. */
export function upstreamTerms(slug: string, upstream: Record<string, unknown> = {}) {
  return {
    kind: 'http',
    slug,
    upstream: {
      base_url: 'https://vendor.example/v1',
      protocol: 'plain',
      credential: { type: 'bearer', secret: 'key-of-the-vendor' },
      ...upstream,
    },
    scopes: [{ name: 'read', description: 'Read', risk: 'low', routes: [{ methods: ['GET'], path: '/**' }] }],
  };
}

/** Creates a resource of kind `http`. */
export async function createUpstream(
  broker: { url: string },
  upstream: Record<string, unknown> = {},
): Promise<{ id: string; identifier: string; slug: string }> {
  const slug = `api-${resources + 1}`;
  return { ...(await createResource(broker, upstreamTerms(slug, upstream))), slug };
}

/** Creates a resource whose leases are accounts in the fake target of the broker, with a low-risk scope `read`. */
export async function createTarget(broker: { url: string }): Promise<{ id: string; identifier: string }> {
  resources += 1;
  const { id, identifier } = await createResource(broker, {
    identifier: `postgres://db-${resources}.internal/orders`,
    kind: 'postgres',
    scopes: [{ name: 'read', description: 'Read orders', risk: 'low', roles: ['reader'] }],
    connection: {
      host: 'db.internal',
      database: 'orders',
      username: `hallpass_${resources}`,
      password: fakeTargetPassword,
    },
  });
  return { id, identifier };
}
