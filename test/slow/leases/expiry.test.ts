import { beforeAll, expect, it } from 'vitest';
import { maxLeases } from '../../../src/leases/lease.ts';
import { connectAs } from '../../engines/postgres/subject.ts';
import { apiOf } from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import {
  type AgentWithGrant,
  type LeaseAnswer,
  openQueryingSession,
  startTargetScene,
  type TargetScene,
} from './target-scene.ts';

const leaseCount = 60;
/** The most leases that an agent can have at a resource. */
const hostileCount = maxLeases.ofAgent;
/** Long enough to make all leases, also on a busy machine. */
const leadSeconds = 30;
/** The promise is 5 s (`npm run bench:leases`). The other tests, which run at the same time, may take three times as long. */
const longestOverrunMs = 15_000;

let scene: TargetScene;

beforeAll(async () => {
  scene = await startTargetScene({ agentCount: 4 });
});

/** Makes leases that all expire within one second, a few at the same time. */
async function makeLeases(agents: readonly AgentWithGrant[], count: number): Promise<LeaseAnswer[]> {
  const expireMs = Date.now() + leadSeconds * 1000;
  const made: LeaseAnswer[] = [];
  const workers = agents.map(async ({ token, grantId }, n) => {
    const api = apiOf(scene.cluster.replicas[n % 2 === 0 ? 0 : 1], token);
    for (let nth = 0; nth < count / agents.length; nth += 1) {
      const ttl_seconds = Math.floor((expireMs - Date.now()) / 1000);
      made.push((await api.post('/v1/leases', { grant_id: grantId, ttl_seconds }).expect(201)).body);
    }
  });
  await Promise.all(workers);
  return made;
}

/** Waits until all sessions have ended. Prints and returns the largest overrun in milliseconds. */
async function measure(what: string, leases: readonly LeaseAnswer[]): Promise<number> {
  const opened = leases.map(async (lease) => ({ lease, session: await openQueryingSession(lease) }));
  const sessions = await Promise.all(opened);
  await Promise.all(sessions.map(({ session }) => session.ended));
  const overruns = sessions.map(
    ({ lease, session }) => session.lastSuccessMs() - Date.parse(lease.expires_at),
  );
  expect(Math.min(...overruns)).toBeGreaterThan(-1_000);
  const largest = Math.max(...overruns);
  process.stdout.write(`${what}: the last query succeeded ${largest} ms after the expiry of its lease\n`);
  return largest;
}

it('the sessions of 60 leases that expire in the same second end soon', async () => {
  const leases = await makeLeases(scene.agents, leaseCount);
  expect(await measure(`${leaseCount} leases`, leases)).toBeLessThanOrEqual(longestOverrunMs);
});

it('they do so while another agent locks the roles of its own 100 leases that expire at the same time', async () => {
  const [hostile, ...others] = scene.agents;
  if (hostile === undefined) throw new Error('no agent');
  const [locked, leases] = await Promise.all([
    makeLeases([hostile], hostileCount),
    makeLeases(others, leaseCount),
  ]);
  const locking = locked.map(async ({ credential: { username: name, password } }) => {
    const client = await connectAs(scene.subject, { name, password });
    await client.query("set role none; begin; alter role session_user password 'locked'");
  });
  await Promise.all(locking);
  expect(await measure('beside locked roles', leases)).toBeLessThanOrEqual(longestOverrunMs);
  await eventually(async () => expect(await scene.connected()).toEqual([]));
});
