import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Cluster, startCluster } from '../../cluster/cluster.ts';
import type { Replica } from '../../cluster/replica.ts';
import { type Answer, call, expecting } from '../../e2e/support/client.ts';
import { createServerOf, grantTo, tokenOf } from '../../oauth/fixtures.ts';
import {
  bootstrapKey,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  grantRequest,
  readAtOnce,
} from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';

/** A process behind the balancer. */
interface Backend {
  replica: Replica;
  agent: Agent;
  inFlight: number;
  isReady: boolean;
}

/**
 * Simulates a load balancer of two processes. Sends requests in turn to processes that are ready, over connections that
 * it keeps, and learns only by polling that one is shutting down. Requests that it has sent by then, including long
 * polls, are in progress. Retries nothing: a connection that is refused or breaks fails the test.
 */
class Balancer {
  readonly #backends = new Set<Backend>();
  #turn = 0;

  add(replica: Replica): Backend {
    const backend = { replica, agent: new Agent({ keepAlive: true }), inFlight: 0, isReady: false };
    this.#backends.add(backend);
    return backend;
  }

  /** Removes a process that has ended: it gets no requests and is not polled any more. */
  remove(backend: Backend): void {
    this.#backends.delete(backend);
  }

  /** Polls the readiness of every process until it is stopped. */
  watch(): () => Promise<void> {
    let watching = true;
    const watched = (async () => {
      while (watching) {
        await this.poll();
        await sleep(paceMs);
      }
    })();
    return async () => {
      watching = false;
      await watched;
    };
  }

  async poll(): Promise<void> {
    const asked = [...this.#backends].map(async (backend) => {
      const answer = await call(`${backend.replica.url}/readyz`).catch(() => undefined);
      backend.isReady = answer?.status === 200;
    });
    await Promise.all(asked);
  }

  async send(path: string, options: Parameters<typeof call>[1]): Promise<Answer> {
    const ready = [...this.#backends].filter(({ isReady }) => isReady);
    this.#turn += 1;
    const backend = ready[this.#turn % ready.length];
    if (backend === undefined) throw new Error('no process is ready');
    backend.inFlight += 1;
    try {
      return await call(`${backend.replica.url}${path}`, { ...options, agent: backend.agent });
    } finally {
      backend.inFlight -= 1;
    }
  }
}

let cluster: Cluster;
const balancer = new Balancer();
let backends: Backend[];
let requests: Record<string, { path: string; options: Parameters<typeof call>[1]; callers: number }>;

beforeAll(async () => {
  cluster = await startCluster({ HALLPASS_SHUTDOWN_DELAY_SECONDS: '1' });
  const [first] = cluster.replicas;
  await createPolicy(first, readAtOnce);
  const agent = await createAgent(first);
  const [resource, other] = [await createResource(first), await createResource(first)];
  await grantTo(agent, resource, { duration_seconds: 3600 });
  const client = `${agent.id}:${agent.secret}`;
  const server = await createServerOf(first, resource);
  const token = await tokenOf(agent, { resource: resource.identifier });
  const bearer = await tokenOf(agent);
  await createPerson(first, { roles: ['approver'] });
  const asked = { bearer, json: grantRequest(other.identifier, { scopes: ['write'] }) };
  const pending = await expecting(202, call(`${first.url}/v1/grants`, asked));
  const mint = { grant_type: 'client_credentials', resource: resource.identifier, scope: 'read' };
  requests = {
    mint: { path: '/oauth2/token', options: { basic: client, form: mint }, callers: 2 },
    introspect: {
      path: '/oauth2/introspect',
      options: { basic: `${server.id}:${server.secret}`, form: { token } },
      callers: 1,
    },
    request: {
      path: '/v1/grants',
      options: { bearer, json: grantRequest(other.identifier, { duration_seconds: 1 }) },
      callers: 1,
    },
    list: { path: '/v1/grants', options: { bearer: bootstrapKey }, callers: 1 },
    poll: { path: `/v1/grants/${pending.body.id}?wait=30`, options: { bearer }, callers: 4 },
  };
  backends = cluster.replicas.map((replica) => balancer.add(replica));
  await balancer.poll();
});

interface Load {
  answers: { kind: string; answer: Answer }[];
  stop(): Promise<void>;
}

const paceMs = 10;

/**
 * Starts all callers. `stop` stops them, then drains the processes, which answers the remaining long polls. It rejects
 * if a request got no response.
 */
function startLoad(): Load {
  const answers: Load['answers'] = [];
  let stopping = false;
  const ask = async (kind: string): Promise<void> => {
    const { path, options } = requests[kind] ?? { path: '/', options: {} };
    while (!stopping) {
      answers.push({ kind, answer: await balancer.send(path, options) });
      await sleep(paceMs);
    }
  };
  const start = (kinds: string[]): Promise<unknown> => {
    const callers = kinds.flatMap((kind) => Array.from({ length: requests[kind]?.callers ?? 0 }, () => kind));
    const asking = Promise.all(callers.map(ask));
    asking.catch(() => {});
    return asking;
  };
  const polling = start(['poll']);
  const calling = start(Object.keys(requests).filter((kind) => kind !== 'poll'));
  return {
    answers,
    async stop() {
      stopping = true;
      await calling;
      // Each process answers its remaining long polls as it drains.
      await Promise.all(backends.map(({ replica }) => replica.drain()));
      await polling;
    },
  };
}

describe('a rolling restart under load', { timeout: 300_000 }, () => {
  it('answers every request successfully, including long polls, and each process exits with code 0', async () => {
    const load = startLoad();
    const stopWatching = balancer.watch();
    const sinceAnswers = (count: number) =>
      eventually(async () => expect(load.answers.length).toBeGreaterThan(count));
    for (const old of [...backends]) {
      // Long polls and other requests are in progress on the process that is going to end.
      await eventually(async () => expect(old.inFlight).toBeGreaterThan(2));
      const polls = load.answers.filter(({ kind }) => kind === 'poll').length;
      const next = balancer.add(await cluster.start());
      await eventually(async () => expect(next.isReady).toBe(true));
      expect(old.inFlight).toBeGreaterThan(0);
      expect(await old.replica.drain()).toBe(0);
      expect(old.inFlight).toBe(0);
      balancer.remove(old);
      expect(load.answers.filter(({ kind }) => kind === 'poll').length).toBeGreaterThan(polls);
      backends = [...backends.filter((backend) => backend !== old), next];
      await sinceAnswers(load.answers.length + 100);
    }
    await load.stop();
    await stopWatching();
    for (const { kind, answer } of load.answers) {
      expect(answer.status, `${kind}: ${JSON.stringify(answer.body)}`).toBeLessThan(300);
    }
    const kinds = new Set(load.answers.map(({ kind }) => kind));
    expect([...kinds].sort()).toEqual(Object.keys(requests).sort());
    const jtis = load.answers
      .filter(({ kind }) => kind === 'mint')
      .map(({ answer }) => decodeJwt(answer.body.access_token).jti);
    const [kept] = await cluster.query<{ n: number }>(
      'select count(*)::integer as n from tokens where jti = any($1)',
      [jtis],
    );
    expect(kept?.n).toBe(jtis.length);
  });
});
