import { beforeAll, describe, expect, it } from 'vitest';
import { defaultPolicy } from '../../../src/policies/policy.ts';
import { type Cluster, startCluster } from '../../cluster/cluster.ts';
import type { Replica } from '../../cluster/replica.ts';
import { createServerOf, grantTo, introspect, permitAll, tokenOf } from '../../oauth/fixtures.ts';
import {
  agentOf,
  apiOf,
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  grantRequest,
  type TestAgent,
  type TestPerson,
} from '../../support/broker.ts';
import { parallel, tally } from '../../support/count.ts';

/** Tests of guarantees across two processes on one database. */
let cluster: Cluster;
let owner: TestPerson;
let approver: TestPerson;
/** A request of high risk, for which the policy of the test requires two approvals. */
const twoApprovals =
  'forbid(principal, action == Action::"request", resource) when { context.max_risk == "high" } unless { context.approvals >= 2 };';

beforeAll(async () => {
  cluster = await startCluster();
  const [first] = cluster.replicas;
  await createPolicy(first, permitAll);
  await createPolicy(first, twoApprovals);
  owner = await createPerson(first);
  approver = await createPerson(first, { roles: ['approver'] });
  await createPerson(first, { roles: ['approver'] });
});

interface Scene {
  agent: TestAgent;
  /** The agent's broker token. */
  credential: string;
  resource: { id: string; identifier: string };
  server: { id: string; secret: string };
  grantId: string;
  /** An access token under the grant. */
  token: string;
}

async function arrange(): Promise<Scene> {
  const [first] = cluster.replicas;
  const agent = await createAgent(first, { owner: owner.id });
  const resource = await createResource(first);
  const grantId = await grantTo(agent, resource);
  const [token, credential] = [
    await tokenOf(agent, { resource: resource.identifier, scope: 'read' }),
    await tokenOf(agent),
  ];
  return { agent, credential, resource, grantId, token, server: await createServerOf(first, resource) };
}

/** Uses the scene in one way on one process. Returns whether the use succeeded. */
type Use = (scene: Scene, replica: Replica) => Promise<boolean>;

const uses: Record<'mint' | 'introspect' | 'call', Use> = {
  async mint({ agent, resource }, replica) {
    const { status } = await agentOf(replica, agent).token({ resource: resource.identifier, scope: 'read' });
    expect([200, 400, 401]).toContain(status);
    return status === 200;
  },
  async introspect({ token, server }, replica) {
    const answer = (await introspect(replica, token, server)) as { active: boolean };
    return answer.active;
  },
  async call({ credential, grantId }, replica) {
    const { status } = await apiOf(replica, credential).get(`/v1/grants/${grantId}`);
    expect([200, 401]).toContain(status);
    return status === 200;
  },
};

interface Seen {
  invokedMs: number;
  succeeded: boolean;
}

/** Uses the scene on `replica` without a pause, until it was refused `enough` times after the response to `end`. */
async function useWhile(
  scene: Scene,
  { kinds, replica, end }: { kinds: Use[]; replica: Replica; end: () => Promise<unknown> },
) {
  const seen = kinds.map((): Seen[] => []);
  let endedMs = Infinity;
  const enough = 10;
  const use = async (kind: Use, uses: Seen[]): Promise<void> => {
    for (let late = 0; late < enough; ) {
      const invokedMs = performance.now();
      uses.push({ invokedMs, succeeded: await kind(scene, replica) });
      if (invokedMs > endedMs) late += 1;
    }
  };
  // Each use has succeeded before.
  for (const kind of kinds) expect(await kind(scene, replica)).toBe(true);
  const using = Promise.all(kinds.map((kind, index) => use(kind, seen[index] ?? [])));
  await end();
  endedMs = performance.now();
  await using;
  return { seen: seen.flat(), endedMs };
}

/** Returns how long after the response to `end` a use began that still succeeded. */
function longestDelayMs({ seen, endedMs }: { seen: Seen[]; endedMs: number }): number {
  const late = seen.filter(({ succeeded, invokedMs }) => succeeded && invokedMs > endedMs);
  return Math.max(0, ...late.map(({ invokedMs }) => invokedMs - endedMs));
}

describe.each([
  [0, 1],
  [1, 0],
] as const)('what process %i ends has ended on process %i from its response on', (here, there) => {
  it('after an agent is disabled, it gets no token, its calls are refused, and none of its tokens is active', async () => {
    const scene = await arrange();
    const [acting, using] = [cluster.replicas[here], cluster.replicas[there]];
    const result = await useWhile(scene, {
      kinds: Object.values(uses),
      replica: using,
      end: () => asBootstrap(acting).post(`/v1/agents/${scene.agent.id}/disable`).expect(200),
    });
    // P11 allows a second, but none is needed.
    expect(longestDelayMs(result)).toBe(0);
  });

  it('after a grant is revoked, no token is issued under it, and none is active', async () => {
    const scene = await arrange();
    const [acting, using] = [cluster.replicas[here], cluster.replicas[there]];
    const result = await useWhile(scene, {
      kinds: [uses.mint, uses.introspect],
      replica: using,
      end: () =>
        asBootstrap(acting).post(`/v1/grants/${scene.grantId}/revoke`, { reason: 'enough' }).expect(200),
    });
    expect(longestDelayMs(result)).toBe(0);
    expect(await uses.call(scene, using)).toBe(true);
  });
});

describe('a revocation after its response', () => {
  it('is effective on every process after the one that sent the response was killed at once, and on its replacement', async () => {
    for (let round = 0; round < 2; round += 1) {
      const scene = await arrange();
      const [victim, survivor] = cluster.replicas;
      await asBootstrap(victim).post(`/v1/grants/${scene.grantId}/revoke`, { reason: 'enough' }).expect(200);
      await victim.kill();
      expect(await uses.introspect(scene, survivor)).toBe(false);
      expect(await uses.mint(scene, survivor)).toBe(false);
      const successor = await cluster.start();
      cluster.replicas = [survivor, successor];
      expect(await uses.introspect(scene, successor)).toBe(false);
      expect(await uses.mint(scene, successor)).toBe(false);
      const [row] = await cluster.query<{ status: string; events: number }>(
        `select status, (select count(*)::integer from audit_events
                          where type = 'grant.revoked' and grant_id = g.id) as events
           from grants g where id = $1`,
        [scene.grantId],
      );
      expect(row).toEqual({ status: 'revoked', events: 1 });
    }
  });
});

const replicaOf = (n: number): Replica => cluster.replicas[n % 2] as Replica;

describe('concurrently on both processes', () => {
  it('twenty approvals by one person count once', async () => {
    const { credential, resource } = await arrange();
    const asked = await apiOf(replicaOf(0), credential)
      .post('/v1/grants', grantRequest(resource.identifier, { scopes: ['admin'] }))
      .expect(202);
    const { id, request_digest } = asked.body;
    const answers = await parallel(20, (n) =>
      apiOf(replicaOf(n), approver.key).post(`/v1/grants/${id}/approve`, { request_digest }),
    );
    expect(tally(answers)).toEqual({ 200: 1, 409: 19 });
    const { body } = await apiOf(replicaOf(1), credential).get(`/v1/grants/${id}`).expect(200);
    expect(body).toMatchObject({ status: 'pending', decision: { approvals: [{ by: approver.id }] } });
  });

  it('fifty requests with one Idempotency-Key create one grant', async () => {
    const { credential, resource, agent } = await arrange();
    const answers = await parallel(50, (n) =>
      apiOf(replicaOf(n), credential)
        .post('/v1/grants', grantRequest(resource.identifier))
        .set('Idempotency-Key', 'once'),
    );
    expect(tally(answers)).toEqual({ 201: 50 });
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    // One grant of the scene, and the one of this test.
    const grants = await cluster.query('select id from grants where agent_id = $1', [agent.id]);
    expect(grants).toHaveLength(2);
  });
});

it('processes that start at the same time on an empty database create one active and one prepared key per algorithm, and one default policy', async () => {
  const keys = await cluster.query<{ alg: string; state: string; n: number }>(
    'select alg, state, count(*)::integer as n from signing_keys group by alg, state order by alg, state',
  );
  expect(keys).toEqual(
    ['ES256', 'EdDSA', 'RS256'].flatMap((alg) =>
      ['active', 'prepared'].map((state) => ({ alg, state, n: 1 })),
    ),
  );
  const policies = await cluster.query('select id from policies where name = $1', [defaultPolicy.name]);
  expect(policies).toHaveLength(1);
});
