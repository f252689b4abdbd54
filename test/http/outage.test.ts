import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { isRouted, readContract } from '../../src/http/contract.ts';
import {
  bootstrapKey,
  createAgent,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { detailsOf, exampleRequest } from '../support/contract-requests.ts';
import { credentialFor } from '../support/credential-for.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Answer, bearer, send, type WireRequest } from '../support/http.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';
import { createWorld } from '../support/valid-requests.ts';
import { type Variant, type VariantName, variantNames, variantRequest } from '../support/variant-requests.ts';

/** The database becomes unreachable under a running broker and returns. An unhandled error fails the run by itself. */
const contract = readContract();
const operations = contract.operations.map((entry) => detailsOf(contract, entry));
/** The operations that need no database. */
const withoutDatabase = [
  'getHealth',
  'getContract',
  'getAuthorizationServerMetadata',
  'getOpenidConfiguration',
  'getProtectedResourceMetadata',
];
const independent = operations.filter(({ entry }) => withoutDatabase.includes(entry.id));
const refusing = 'refuseAuthorization';
const unavailable = operations.filter(
  ({ entry }) => ![...withoutDatabase, 'getReadiness', refusing].includes(entry.id),
);

const clock = new FakeClock();
let database: TestDatabase;
let proxy: TcpProxy;
let broker: TestBroker;
let agent: TestAgent;
let stranger: TestAgent;
let agentToken: string;
let superuser: pg.Client;
const variants = new Map<VariantName, Variant>();
const variantWire = (name: VariantName): Promise<WireRequest> => (variants.get(name) as Variant).request();

beforeAll(async () => {
  database = await createTestDatabase();
  const { hostname, port } = new URL(database.url);
  proxy = await startTcpProxy({ host: hostname, port: Number(port) || 5432 });
  const url = new URL(database.url);
  url.hostname = '127.0.0.1';
  url.port = String(proxy.port);
  broker = await startBroker({ database, clock, config: { databaseUrl: url.href } });
  agent = await createAgent(broker);
  // This client has never used the token endpoint, so no cache has it.
  stranger = await createAgent(broker);
  agentToken = (await agent.token().expect(200)).body.access_token;
  const world = { ...(await createWorld(broker)), clock };
  for (const name of variantNames) variants.set(name, await variantRequest(world, name));
  superuser = new pg.Client({ connectionString: inject('server').adminUrl });
  await superuser.connect();
});
afterAll(async () => {
  await superuser.end();
  await proxy.cut();
});

function requestOf(details: (typeof operations)[number], client = agent): WireRequest {
  const { entry } = details;
  const example = exampleRequest(details);
  if (!isRouted(entry)) {
    const basic = Buffer.from(`${client.id}:${client.secret}`).toString('base64');
    const body = entry.id === 'issueToken' ? 'grant_type=client_credentials' : `token=${agentToken}`;
    return { ...example, headers: { ...example.headers, Authorization: `Basic ${basic}` }, body };
  }
  return { ...example, headers: { ...example.headers, ...credentialFor(details, agentToken) } };
}

function expectUnavailable(answer: Answer, what: string): void {
  expect(answer.status, `${what}: ${answer.text}`).toBe(503);
  expect(answer.headers['retry-after'], what).toBe('1');
  expect(answer.headers['cache-control'], what).toBe('no-store');
  expect(answer.json.code ?? answer.json.error, what).toMatch(/^(unavailable|temporarily_unavailable)$/);
  expect(answer.text, what).not.toMatch(/ECONN|127\.0\.0\.1|postgres|Bearer|Basic|terminat/);
}

const databaseName = (): string => new URL(database.url).pathname.slice(1);
const readiness: WireRequest = { method: 'GET', path: '/readyz', headers: {} };
const listAdmins: WireRequest = { method: 'GET', path: '/v1/admins', headers: bearer(bootstrapKey) };
const isBack = () =>
  eventually(async () => expect(await send(broker, listAdmins)).toMatchObject({ status: 200 }));

async function restore(): Promise<void> {
  await proxy.restore();
  // Public documents are served from memory for a second.
  clock.advance(1);
  await isBack();
}

describe('while the database cannot be reached', () => {
  beforeAll(() => proxy.cut());
  afterAll(restore);

  it.each(unavailable)('$entry.id is unavailable, with Retry-After', async (details) => {
    for (const client of [agent, stranger]) {
      expectUnavailable(await send(broker, requestOf(details, client)), details.entry.id);
    }
  });

  it.each(variantNames)('%s is unavailable, with Retry-After', async (name) => {
    expectUnavailable(await send(broker, await variantWire(name)), name);
  });

  it.each(independent)('$entry.id continues', async (details) => {
    expect(await send(broker, requestOf(details))).toMatchObject({ status: 200 });
  });

  it('the process runs but is not ready', async () => {
    const { status, json } = await send(broker, readiness);
    expect(status).toBe(503);
    expect(json).toEqual({ status: 'not ready', checks: { database: 'unreachable' } });
  });
});

describe('when the database is back', () => {
  it.each(unavailable)('$entry.id succeeds again without intervention', async (details) => {
    const { text } = await send(broker, requestOf(details));
    expect(text).not.toMatch(/"(temporarily_)?unavailable"/);
  });

  it.each(variantNames)('%s succeeds', async (name) => {
    const { status, text } = await send(broker, await variantWire(name));
    expect(status, text).toBeLessThan(300);
  });

  it('the process is ready again, except for its fake clock', async () => {
    const { json } = await send(broker, readiness);
    expect(json.checks).toMatchObject({ database: 'ok', migrations: 'ok', keys: 'ok' });
  });
});

describe('while it is unreachable, for cached clients and grants', () => {
  const again = variantNames.filter((name) => name.startsWith('issueToken'));
  beforeAll(async () => {
    for (const name of again)
      expect(await send(broker, await variantWire(name))).toMatchObject({ status: 200 });
    await proxy.cut();
  });
  afterAll(async () => {
    await restore();
    for (const name of again)
      expect(await send(broker, await variantWire(name))).toMatchObject({ status: 200 });
  });

  it.each(again)('%s is unavailable, too', async (name) => {
    expectUnavailable(await send(broker, await variantWire(name)), name);
  });
});

/** Starts 20 changes that wait in their transactions for a lock, calls `strike`, and returns their responses. */
async function inMidTransaction(strike: () => Promise<unknown>): Promise<Answer[]> {
  await database.owner.query('begin; lock table audit_events in share mode');
  const request = (n: number): WireRequest => ({
    method: 'POST',
    path: '/v1/admins',
    headers: { ...bearer(bootstrapKey), 'Content-Type': 'application/json' },
    body: JSON.stringify({ name: 'a', email: `${n}-${Math.random()}@example.com`, roles: [] }),
  });
  const answers = Promise.all(Array.from({ length: 20 }, (_, n) => send(broker, request(n))));
  await eventually(async () => {
    const { rows } = await superuser.query(
      "select 1 from pg_stat_activity where datname = $1 and wait_event_type = 'Lock'",
      [databaseName()],
    );
    expect(rows.length).toBeGreaterThan(5);
  });
  await strike();
  await database.owner.query('rollback');
  return answers;
}

async function countPeople(): Promise<number> {
  const { rows } = await database.owner.query('select count(*)::int as n from admins');
  return rows[0].n;
}

/** Ends the broker's sessions, as a server does that shuts down or fails over. */
const terminate = () =>
  superuser.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = $1 and application_name in ('hallpass', 'hallpass tokens')`,
    [databaseName()],
  );

describe('changes in progress', () => {
  it('report an error, and are not made, when the server ends their sessions', async () => {
    const before = await countPeople();
    const answers = await inMidTransaction(terminate);
    const lost = answers.filter(({ status }) => status !== 201);
    for (const answer of lost) expectUnavailable(answer, 'terminated');
    expect(lost.length).toBeGreaterThan(5);
    expect(await countPeople()).toBe(before + answers.length - lost.length);
    await isBack();
  });

  it('report an error, and are not made, when the connection breaks', async () => {
    const before = await countPeople();
    const answers = await inMidTransaction(() => proxy.cut());
    await proxy.restore();
    for (const answer of answers) expectUnavailable(answer, 'cut');
    await isBack();
    expect(await countPeople()).toBe(before);
  });

  it('and later ones are unavailable while the server accepts no connections', async () => {
    await superuser.query(`alter database ${databaseName()} allow_connections false`);
    try {
      await terminate();
      await eventually(async () => expectUnavailable(await send(broker, listAdmins), 'nobody is let in'));
    } finally {
      await superuser.query(`alter database ${databaseName()} allow_connections true`);
    }
    await isBack();
  });
});
