import { beforeAll, expect, it } from 'vitest';
import { apiOf } from '../../support/broker.ts';
import { type LeaseAnswer, openQueryingSession, startTargetScene, type TargetScene } from './target-scene.ts';

const leaseCount = 60;
const leadSeconds = 30;
/** P1: no credential outlives its lease by more. */
const longestOverrunMs = 5_000;

let scene: TargetScene;

beforeAll(async () => {
  scene = await startTargetScene({ agentCount: 4 });
});

/** Makes leases that all expire within one second, a few at the same time. */
async function makeLeases(): Promise<LeaseAnswer[]> {
  const expireMs = Date.now() + leadSeconds * 1000;
  const made: LeaseAnswer[] = [];
  const workers = scene.agents.map(async ({ token, grantId }, n) => {
    const api = apiOf(scene.cluster.replicas[n % 2 === 0 ? 0 : 1], token);
    for (let count = 0; count < leaseCount / scene.agents.length; count += 1) {
      const ttl_seconds = Math.floor((expireMs - Date.now()) / 1000);
      made.push((await api.post('/v1/leases', { grant_id: grantId, ttl_seconds }).expect(201)).body);
    }
  });
  await Promise.all(workers);
  return made;
}

it('the sessions of 60 leases that expire in the same second end within 5 s', async () => {
  const leases = await makeLeases();
  const sessions = await Promise.all(
    leases.map(async (lease) => ({ lease, session: await openQueryingSession(lease) })),
  );
  await Promise.all(sessions.map(({ session }) => session.ended));
  const overruns = sessions.map(
    ({ lease, session }) => session.lastSuccessMs() - Date.parse(lease.expires_at),
  );
  const expiries = leases.map(({ expires_at: at }) => Date.parse(at));
  const largest = Math.max(...overruns);
  process.stdout.write(
    `${leaseCount} leases expired within ${Math.max(...expiries) - Math.min(...expiries)} ms; ` +
      `the last successful query of a session was ${largest} ms after the expiry of its lease\n`,
  );
  expect(Math.min(...overruns)).toBeGreaterThan(-1_000);
  expect(largest).toBeLessThanOrEqual(longestOverrunMs);
});
