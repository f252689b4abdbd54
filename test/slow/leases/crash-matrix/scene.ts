import { randomBytes } from 'node:crypto';
import type { EngineKind } from '../../../../src/engines/terms.ts';
import { permitAll } from '../../../oauth/fixtures.ts';
import { atEnd } from '../../../support/at-end.ts';
import { type Api, asBootstrap, createAgent, createPolicy, type TestAgent } from '../../../support/broker.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts';
import { type MessageGate, startMessageGate } from './message-gate.ts';
import { type Survivor, startSurvivor } from './survivor.ts';
import { type MatrixTarget, startTarget } from './targets.ts';
import type { KnownPassword } from './victim.ts';

/** A resource with an admin account and a gate of its own, so that its leases stop at a step without delaying others. */
export interface Lane {
  resourceId: string;
  identifier: string;
  gate: MessageGate;
  admin: string;
}

export interface Scene {
  target: MatrixTarget;
  database: TestDatabase;
  clock: FakeClock;
  agent: Pick<TestAgent, 'id' | 'secret'>;
  lanes: Lane[];
  /** The replica that serves requests between the rounds. */
  survivor: Survivor;
  /** Every password that an account in the target ever had. */
  known: KnownPassword[];
}

export async function startScene(kind: EngineKind, laneCount: number): Promise<Scene> {
  const target = await startTarget(kind);
  const database = await createTestDatabase();
  const clock = new FakeClock();
  const survivor = await startSurvivor({ databaseUrl: database.url, clock });
  await createPolicy(survivor, permitAll);
  const { id, secret } = await createAgent(survivor);
  const known: KnownPassword[] = [];
  const lanes: Lane[] = [];
  for (let n = 0; n < laneCount; n += 1) {
    const admin = await target.makeAdmin(`lane_${n}_${randomBytes(3).toString('hex')}`);
    known.push(admin);
    lanes.push(await openLane(survivor, target, admin));
  }
  const scene: Scene = { target, database, clock, agent: { id, secret }, lanes, known, survivor };
  atEnd(() => scene.survivor.close());
  return scene;
}

async function openLane(survivor: Survivor, target: MatrixTarget, admin: KnownPassword): Promise<Lane> {
  const { host, port, database, endpoint } = target.subject.options.connection;
  const gate = await startMessageGate({ host, port });
  const body = {
    identifier: `${target.kind}://${admin.username}.internal/orders`,
    name: 'Orders',
    kind: target.kind,
    scopes: [{ name: 'use', description: 'Use orders', risk: 'low', ...target.subject.mappings[0] }],
    max_grant_seconds: 3600,
    connection: { host, port: gate.port, database, ...admin, endpoint, tls: { mode: 'off' } },
  };
  const { status, body: created } = await asBootstrap(survivor).post('/v1/resources', body);
  if (status !== 201) throw new Error(`the resource was refused: ${JSON.stringify(created)}`);
  return { resourceId: created.id, identifier: body.identifier, gate, admin: admin.username };
}

/** Ends the replica, and starts one that knows nothing but the database. */
export async function replaceSurvivor(scene: Scene): Promise<void> {
  await scene.survivor.close();
  scene.survivor = await startSurvivor({ databaseUrl: scene.database.url, clock: scene.clock });
}

/** Gives the agent a grant of an hour for the resource of a lane. */
export async function grantFor(api: Api, { identifier }: Lane): Promise<string> {
  const terms = { resource: identifier, scopes: ['use'], duration_seconds: 3600, reason: 'test' };
  return (await api.post('/v1/grants', terms).expect(201)).body.id;
}
