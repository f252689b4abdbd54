import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import supertest from 'supertest';
import { type Broker, type BrokerConfig, compose, type Overrides } from '../../src/compose.ts';
import { MasterKey } from '../../src/crypto/master-key.ts';
import { parseIssuer } from '../../src/oauth/issuer.ts';
import type { Clock } from '../../src/platform/clock.ts';
import { createLog, type Log } from '../../src/platform/log.ts';
import { atEnd } from './at-end.ts';
import { recordCoverage } from './contract-coverage.ts';
import { FakeClock } from './fake-clock.ts';
import { createTestDatabase, type TestDatabase } from './test-database.ts';

/** The key of the person `bootstrap` in every test broker: admin, approver and auditor. */
export const bootstrapKey = `hpa_${'0123456789abcdefghijABCDEFGHIJKLMNOPQRSTUVW'}`;
export const testIssuer = 'https://hallpass.test';
/** Silent, unless HALLPASS_TEST_LOG names a level. */
const testLog = createLog((process.env.HALLPASS_TEST_LOG ?? 'silent') as 'silent', {
  write: (line) => process.stderr.write(line),
});
export const testMasterKey = new MasterKey(Buffer.alloc(32, 7));

export interface TestBroker extends Broker {
  database: TestDatabase;
  server: Server;
  url: string;
}

export interface TestBrokerOptions {
  clock?: Clock;
  log?: Log;
  config?: Partial<BrokerConfig>;
  /** Another broker's database: a second replica. */
  database?: TestDatabase;
  overrides?: Partial<Overrides>;
}

/** What a broker of a test is told, unless it says otherwise. */
export function testConfig(databaseUrl: string): BrokerConfig {
  const issuer = parseIssuer(testIssuer);
  if (issuer === undefined) throw new Error('the test issuer is not one');
  return {
    databaseUrl,
    masterKey: testMasterKey,
    oldMasterKeys: [],
    issuer,
    logLevel: 'silent',
    trustedProxies: [],
    outboundAllow: [],
    dpopNonce: 'required',
    preparedStatements: true,
    rateLimitPerSecond: 'off',
    bootstrapAdminKey: bootstrapKey,
  };
}

/** A whole broker over a database of its own, listening on a loopback port; closed when the test file ends. */
export async function startBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const database = options.database ?? (await createTestDatabase());
  const config: BrokerConfig = { ...testConfig(database.url), ...options.config };
  const broker = await compose(config, {
    clock: options.clock ?? new FakeClock(),
    log: options.log ?? testLog,
    validateResponses: true,
    observe: recordCoverage,
    ...options.overrides,
  });
  const server = createServer(broker.app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  atEnd(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await broker.close();
  });
  return { ...broker, database, server, url };
}

export type Api = ReturnType<typeof apiOf>;

/** Calls of one caller: supertest requests with its bearer credential. */
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

/** A person with a key of their own. */
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
  /** A form to the token endpoint, authenticated with client_secret_basic. */
  token(form?: Record<string, string>): supertest.Test;
  /** Calls `/v1` with a broker token that was got now. */
  api(): Promise<Api>;
}

/** An agent owned by a person of its own (or by `owner`). */
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

/** A form to /oauth2 with client_secret_basic. */
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

/** A resource with a low-risk scope `read`, a medium-risk `write` and a high-risk `admin`. */
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

/** `read` at once for up to an hour; anything else as the default policy has it. */
export const readAtOnce =
  'permit(principal, action == Action::"request", resource) when { context.max_risk == "low" && context.duration_seconds <= 3600 };';

export async function createPolicy(broker: { url: string }, cedar: string): Promise<string> {
  const name = `policy ${randomBytes(6).toString('hex')}`;
  const created = await asBootstrap(broker).post('/v1/policies', { name, cedar }).expect(201);
  return created.body.id;
}

/** A request for a grant, as its body. */
export function grantRequest(resource: string, request: Record<string, unknown> = {}) {
  return { resource, scopes: ['read'], duration_seconds: 600, reason: 'because', ...request };
}
