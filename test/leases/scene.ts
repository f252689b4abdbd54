import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import type { JobName } from '../../src/worker/schedules.ts';
import { createFakeServer, type FakeServer, fakeEngines } from '../engines/fake-engine.ts';
import { permitAll } from '../oauth/fixtures.ts';
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

/** A broker whose engine for postgres is a fake, and an agent. */
export interface Scene {
  broker: TestBroker;
  clock: FakeClock;
  server: FakeServer;
  admin: Api;
  agent: TestAgent;
  /** Requests of the agent. Its token is new for each, because tests move the clock. */
  as(agent?: TestAgent): Promise<Api>;
}

export const adminPassword = 'the password of the admin account';

interface SceneOptions extends Omit<TestBrokerOptions, 'clock' | 'overrides'> {
  clock?: FakeClock;
  server?: FakeServer;
}

/** Starts a broker. With the database, the clock and the server of another scene it is a second replica. */
export async function startScene(options: SceneOptions = {}): Promise<Scene> {
  const { clock = new FakeClock(), server = createFakeServer(adminPassword), database } = options;
  const overrides = { engines: fakeEngines(server) };
  const broker = await startBroker({ ...options, clock, overrides });
  if (database === undefined) await createPolicy(broker, permitAll);
  const agent = await createAgent(broker);
  return { broker, clock, server, admin: asBootstrap(broker), agent, as: (other = agent) => other.api() };
}

let targets = 0;

export const connection = {
  host: 'db.internal',
  database: 'orders',
  username: 'hallpass',
  password: adminPassword,
};

/** Returns the body of a resource whose scopes are roles of the fake server. */
export function targetBody(change: Record<string, unknown> = {}) {
  targets += 1;
  return {
    identifier: `postgres://db-${targets}.internal/orders`,
    name: 'Orders',
    kind: 'postgres',
    scopes: [
      { name: 'read', description: 'Read orders', risk: 'low', roles: ['reader'] },
      { name: 'write', description: 'Change orders', risk: 'medium', roles: ['writer'] },
    ],
    max_grant_seconds: 7200,
    connection,
    ...change,
  };
}

/** Creates a resource with a target and an active grant of the scene's agent for `read`. */
export async function createTargetAndGrant(
  scene: Scene,
  { durationSeconds = 600, agent = scene.agent }: { durationSeconds?: number; agent?: TestAgent } = {},
) {
  const resource = (await scene.admin.post('/v1/resources', targetBody()).expect(201)).body;
  return { resource, grant: await grantFor(scene, { resource, durationSeconds, agent }) };
}

export async function grantFor(
  scene: Scene,
  {
    resource,
    durationSeconds = 600,
    agent = scene.agent,
  }: {
    resource: { identifier: string };
    durationSeconds?: number;
    agent?: TestAgent;
  },
) {
  const terms = { resource: resource.identifier, scopes: ['read'], duration_seconds: durationSeconds };
  const api = await scene.as(agent);
  return (await api.post('/v1/grants', { ...terms, reason: 'nightly report' }).expect(201)).body;
}

/** Makes a lease under a new grant. Returns the answer to the request. */
export async function createLease(
  scene: Scene,
  options: { durationSeconds?: number; agent?: TestAgent } = {},
) {
  const { grant, resource } = await createTargetAndGrant(scene, options);
  const api = await scene.as(options.agent);
  const { body } = await api.post('/v1/leases', { grant_id: grant.id }).expect(201);
  return { lease: body, grant, resource };
}

/** Reads a lease as an admin. */
export async function readLease({ admin }: Scene, id: string) {
  return (await admin.get(`/v1/leases/${id}`).expect(200)).body;
}

/** Ends what is due now, as the background worker does. */
export async function endDue({ broker }: Pick<Scene, 'broker'>): Promise<void> {
  await broker.worker.endLeases();
}

/** Runs a job of the background worker now. */
export async function runJob({ broker, clock }: Scene, name: JobName): Promise<void> {
  await broker.worker.register();
  expect(await broker.worker.runNow(name, clock.now())).toBe('done');
}

/** Holds the calls to the server that begin from now on, until the returned function is called. */
export function holdCalls({ faults }: FakeServer, where: 'hold' | 'holdAfterLogin' = 'hold'): () => void {
  let release = (): void => {};
  faults[where] = new Promise((resolve) => {
    release = resolve;
  });
  return () => {
    faults[where] = Promise.resolve();
    release();
  };
}

/** Begins a request for a lease, and holds its `create` at the server. Calls that begin later are not held. */
export async function beginLease(scene: Scene, options: { key?: string; agent?: TestAgent } = {}) {
  const { grant, resource } = await createTargetAndGrant(scene, options);
  const before = scene.server.calls.length;
  const release = holdCalls(scene.server);
  const api = await scene.as(options.agent);
  const asked = api.post('/v1/leases', { grant_id: grant.id });
  if (options.key !== undefined) asked.set('Idempotency-Key', options.key);
  const answer = asked.then((response) => response);
  await eventually(async () => expect(scene.server.calls.slice(before)).toContain('create'));
  scene.server.faults.hold = Promise.resolve();
  const { items } = (await scene.admin.get(`/v1/leases?grant_id=${grant.id}`).expect(200)).body;
  return { grant, resource, lease: items[0], release, answer };
}

/** Advances the clock second by second, and ends what is due after each. */
export async function endFor(scene: Scene, seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    scene.clock.advance(1);
    await endDue(scene);
  }
}

interface LeaseRows {
  grant: { id: string };
  count: number;
  status?: 'creating' | 'active' | 'revoking';
  /** SQL of columns of each row that differ. */
  change?: Record<string, string>;
}

/** Inserts leases by SQL, because the limits of leases are too high for requests. */
export async function insertLeases(
  { broker, clock }: Scene,
  { grant, count, status = 'active', change = {} }: LeaseRows,
): Promise<string[]> {
  const now = `'${clock.now().toISOString()}'::timestamptz`;
  const suffix = randomBytes(5).toString('hex');
  const columns: Record<string, string> = {
    id: "'lse_0' || substr(md5($1 || n), 1, 25)",
    grant_id: 'g.id',
    agent_id: 'g.agent_id',
    resource_id: 'g.resource_id',
    connection_id: 'r.connection_id',
    account_name: "'hp_' || $1 || '_' || n",
    status: `'${status}'`,
    created_at: now,
    create_deadline_at: `${now} + interval '20 s'`,
    activated_at: status === 'active' ? now : 'null',
    expires_at: 'g.expires_at',
    revoked_at: status === 'revoking' ? now : 'null',
    revoked_by: status === 'revoking' ? "'end-leases'" : 'null',
    revoke_reason: status === 'revoking' ? "'it expired'" : 'null',
    next_attempt_at: status === 'active' ? 'g.expires_at' : now,
    ...change,
  };
  const { rows } = await broker.database.owner.query<{ id: string }>(
    `insert into leases (${Object.keys(columns).join(', ')})
     select ${Object.values(columns).join(', ')}
       from grants g join resources r on r.id = g.resource_id, generate_series(1, $3) n where g.id = $2
     returning id`,
    [suffix, grant.id, count],
  );
  return rows.map(({ id }) => id);
}

/** Makes the fake target work again, without accounts, and forgets all leases. */
export async function resetTarget({ server, broker }: Scene): Promise<void> {
  const { accounts, faults } = server;
  accounts.clear();
  faults.isUnreachable = false;
  faults.onUnreachable = () => {};
  for (const calls of [faults.lostAfter, faults.missingPrivilege, faults.withoutEffect, faults.stuck])
    calls.clear();
  await broker.database.owner.query('truncate leases');
}
