import { createFakeEngine, createFakeServer, type FakeServer } from '../engines/fake-engine.ts';
import { permitAll } from '../oauth/fixtures.ts';
import {
  type Api,
  asBootstrap,
  createAgent,
  createPolicy,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import type { TestDatabase } from '../support/test-database.ts';

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

export async function startScene(
  options: { database?: TestDatabase; clock?: FakeClock } = {},
): Promise<Scene> {
  const { clock = new FakeClock(), database } = options;
  const server = createFakeServer(adminPassword);
  const overrides = { engines: { postgres: createFakeEngine(server) } };
  const broker = await startBroker({ clock, overrides, ...(database === undefined ? {} : { database }) });
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

/** Ends what is due: two runs, because access ends before anything is cleaned up. */
export async function endDue({ broker }: Scene): Promise<void> {
  await broker.worker.endLeases();
}
