import { beforeAll, expect, it } from 'vitest';
import type { Replica } from '../../cluster/replica.ts';
import { apiOf } from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { createPrng } from '../chaos/prng.ts';
import {
  type LeaseAnswer,
  openQueryingSession,
  type QueryingSession,
  startTargetScene,
  type TargetScene,
} from './target-scene.ts';

const rounds = 3;
const requestsPerRound = 8;
const prng = createPrng('2026-03-02', 'kills of lease brokers');

let scene: TargetScene;
let replicas: Replica[];
const sessions = new Map<string, QueryingSession>();
const leases: LeaseAnswer[] = [];

beforeAll(async () => {
  scene = await startTargetScene();
  replicas = [...scene.cluster.replicas];
});

const pick = <T>(values: readonly T[]): T => {
  const value = prng.pick(values);
  if (value === undefined) throw new Error('nothing to pick from');
  return value;
};

/** Makes a lease and a session, through any replica. The replica may die meanwhile. */
async function make(): Promise<void> {
  const { token, grantId } = pick(scene.agents);
  const { status, body } = await apiOf(pick(replicas), token).post('/v1/leases', { grant_id: grantId });
  if (status !== 201) return;
  leases.push(body);
  sessions.set(body.credential.username, await openQueryingSession(body));
}

async function revokeOne(): Promise<void> {
  if (leases.length === 0) return;
  await scene.admin(pick(replicas).url).post(`/v1/leases/${pick(leases).id}/revoke`);
}

/** Sends requests, kills a replica after some have been answered, and starts another one in its place. */
async function killDuringRequests(): Promise<void> {
  const place = prng.between(0, 1);
  const victim = replicas[place];
  const after = prng.between(0, requestsPerRound - 1);
  let answered = 0;
  let killing: Promise<void> | undefined;
  const killWhenDue = (): void => {
    if (answered >= after) killing ??= victim?.kill();
  };
  const requests = Array.from({ length: requestsPerRound }, () => (prng.chance(0.25) ? revokeOne() : make()));
  setImmediate(killWhenDue);
  const settled = requests.map((request) =>
    request
      .catch(() => {})
      .finally(() => {
        answered += 1;
        killWhenDue();
      }),
  );
  await Promise.all(settled);
  await killing;
  replicas[place] = await scene.cluster.start();
}

const readLeases = () =>
  scene.cluster.query<{ account_name: string; status: string }>(
    'select account_name, status from leases order by account_name',
  );

it('3 kills while leases are made and revoked leave no account and no session without an open lease', async () => {
  for (let round = 0; round < rounds; round += 1) await killDuringRequests();
  expect(leases.length).toBeGreaterThan(rounds);

  // A lease whose process has died is given up after 20 s, and its account destroyed again 3 s later.
  await eventually(async () => {
    const open = (await readLeases()).filter(({ status }) => status !== 'active' && status !== 'revoked');
    expect(open).toEqual([]);
  });
  const active = (await readLeases())
    .filter(({ status }) => status === 'active')
    .map((row) => row.account_name);
  expect(active.length).toBeGreaterThan(0);
  await eventually(async () => expect(await scene.accounts()).toEqual(active));
  expect((await scene.connected()).filter((name) => !active.includes(name))).toEqual([]);
  for (const [name, session] of sessions) expect(session.isOpen(), name).toBe(active.includes(name));

  for (const { id } of leases)
    await scene.admin(pick(replicas).url).post(`/v1/leases/${id}/revoke`).expect(200);
  const rest = await scene.cluster.query<{ id: string }>("select id from leases where status = 'active'");
  for (const { id } of rest)
    await scene.admin(pick(replicas).url).post(`/v1/leases/${id}/revoke`).expect(200);
  await eventually(async () => expect(await scene.accounts()).toEqual([]));
  await Promise.all([...sessions.values()].map(({ ended }) => ended));
  expect(await scene.connected()).toEqual([]);
  for (const { status } of await readLeases()) expect(status).toBe('revoked');
  expect(await scene.cluster.query('select account_name from preflights')).toEqual([]);
});
