import { setTimeout as sleep } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { jwtBearerGrant } from '../../../src/oauth/grant-types/jwt-bearer.ts';
import { exchangeGrant } from '../../../src/oauth/grant-types/token-exchange.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { isRunning } from '../../cluster/cluster.ts';
import { type OwnServer, startOwnServer } from '../../cluster/own-server.ts';
import { clusterEnv, type Replica, startReplica } from '../../cluster/replica.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { basicAuth, createServerOf, grantTo, permitAll, tokenOf } from '../../oauth/fixtures.ts';
import { tokenType } from '../../oauth/token-exchange/exchange-scene.ts';
import {
  bootstrapKey,
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  type TestAgent,
} from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { createFederatedAgent } from '../../support/federated-agent.ts';
import { type Answer, bearer, send, type WireRequest } from '../../support/http.ts';
import { createKeyAgent, proofOf } from '../../support/key-agent.ts';
import { byClient, byForm } from '../../support/valid-requests.ts';

/** Tests in which the whole database server stops and returns under the load of two replicas. */
let server: OwnServer;
let replicas: [Replica, Replica];
let agent: TestAgent;
let work: Work[];

/**
 * The ways to request a token: with a secret, with an assertion, with a token of a trusted issuer, and by exchange of
 * another agent's token.
 */
const minting = ['mint', 'assert', 'federate', 'exchange'] as const;
type Minting = (typeof minting)[number];

/** A request that a caller repeats `paceMs` after each response. */
interface Work {
  kind: Minting | 'introspect' | 'request';
  replica: Replica;
  paceMs: number;
  /**
   * Makes the n-th request. After a refusal it is repeated unchanged, except for an assertion, which may be used.
   */
  request: (n: number) => WireRequest | Promise<WireRequest>;
}

interface Seen {
  work: Work;
  invokedMs: number;
  answer: Answer;
}

const tokenPath = '/oauth2/token';
const form = { 'Content-Type': 'application/x-www-form-urlencoded' };

beforeAll(async () => {
  await ensureBuilt();
  server = await startOwnServer();
  const env = clusterEnv(server.applicationUrl, bootstrapKey);
  replicas = await Promise.all([startReplica(env), startReplica(env)]);
  const [first] = replicas;
  await createPolicy(first, permitAll);
  agent = await createAgent(first);
  const [minted, requested] = [await createResource(first), await createResource(first)];
  await grantTo(agent, minted, { duration_seconds: 3600 });
  const token = await tokenOf(agent, { resource: minted.identifier });
  const asServer = { ...form, ...basicAuth(await createServerOf(first, minted)) };
  const asAgent = { ...form, ...basicAuth(agent) };
  const byToken = { 'Content-Type': 'application/json', ...bearer(await tokenOf(agent)) };
  const mint = `grant_type=client_credentials&scope=read&resource=${encodeURIComponent(minted.identifier)}`;
  const shortGrant = JSON.stringify(grantRequest(requested.identifier, { duration_seconds: 1 }));
  const post = { method: 'POST' };
  const proving = await createProving(first, token);
  work = replicas.flatMap((replica, index): Work[] => [
    ...proving(replica),
    {
      kind: 'mint',
      replica,
      paceMs: 3,
      request: () => ({ ...post, path: tokenPath, headers: asAgent, body: mint }),
    },
    {
      kind: 'introspect',
      replica,
      paceMs: 3,
      request: () => ({ ...post, path: '/oauth2/introspect', headers: asServer, body: `token=${token}` }),
    },
    {
      kind: 'request',
      replica,
      paceMs: 40,
      request: (n) => ({
        ...post,
        path: '/v1/grants',
        headers: { ...byToken, 'Idempotency-Key': `${index}-${n}` },
        body: shortGrant,
      }),
    },
  ]);
});

/** Creates the requests for tokens without a secret, and by exchange. */
async function createProving(place: { url: string }, token: string): Promise<(replica: Replica) => Work[]> {
  const at = { url: place.url, now: () => systemClock.now() };
  const [keyAgent, workload, helper] = [
    await createKeyAgent(at),
    await createFederatedAgent(at),
    await createAgent(place),
  ];
  const brokerToken = { grant_type: 'client_credentials' };
  const subject = { subject_token: token, subject_token_type: tokenType('access_token') };
  const exchange = byClient(helper, tokenPath, { grant_type: exchangeGrant, ...subject });
  const wires: [Minting, () => WireRequest | Promise<WireRequest>][] = [
    ['assert', async () => byForm(tokenPath, { ...brokerToken, ...proofOf(await keyAgent.assert()) })],
    [
      'federate',
      async () => byForm(tokenPath, { grant_type: jwtBearerGrant, assertion: await workload.issueToken() }),
    ],
    ['exchange', () => exchange],
  ];
  return (replica) => wires.map(([kind, request]) => ({ kind, replica, paceMs: 40, request }));
}

interface Load {
  seen: Seen[];
  stop(): Promise<void>;
}

/** Rejects, at `stop`, if a connection broke without a response. */
function startLoad(): Load {
  const seen: Seen[] = [];
  let stopping = false;
  const call = async (one: Work): Promise<void> => {
    for (let n = 0; !stopping; ) {
      const invokedMs = performance.now();
      const answer = await send(one.replica, await one.request(n));
      seen.push({ work: one, invokedMs, answer });
      if (answer.status < 300) n += 1;
      await sleep(one.paceMs);
    }
  };
  const calling = Promise.all([...work, ...work.filter(({ kind }) => kind === 'mint')].map(call));
  calling.catch(() => {});
  return {
    seen,
    async stop() {
      stopping = true;
      await calling;
    },
  };
}

/** Resolves when every kind of request to every replica that began after `sinceMs` got one of `statuses`. */
const allAnswered = (load: Load, sinceMs: number, statuses: number[]): Promise<void> =>
  eventually(async () => {
    const missing = work.filter(
      (one) =>
        !load.seen.some(
          (seen) => seen.work === one && seen.invokedMs > sinceMs && statuses.includes(seen.answer.status),
        ),
    );
    expect(missing.map(({ kind, replica }) => `${kind} ${replica.url}`)).toEqual([]);
  });

async function queryOwner<Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) {
  const client = new pg.Client({ connectionString: server.ownerUrl });
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}

const good = ({ answer }: Seen): boolean => answer.status < 300;

/** Asserts 503 with Retry-After, the only allowed response in an outage. */
function expectUnavailable({ work, answer }: Seen): void {
  const what = `${work.kind}: ${answer.status} ${answer.text}`;
  expect(answer.status, what).toBe(503);
  expect(Number(answer.headers['retry-after']), what).toBeGreaterThan(0);
  expect(answer.json.code ?? answer.json.error, what).toMatch(/^(temporarily_)?unavailable$/);
}

async function expectKept(seen: Seen[]): Promise<void> {
  const of = (kind: Work['kind']) => seen.filter((one) => one.work.kind === kind && good(one));
  const jtis = minting.flatMap(of).map(({ answer }) => decodeJwt(String(answer.json.access_token)).jti);
  const grants = of('request').map(({ answer }) => answer.json.id);
  expect(new Set(jtis).size).toBe(jtis.length);
  expect(new Set(grants).size).toBe(grants.length);
  const [kept] = await queryOwner(
    `select (select count(*)::integer from tokens where jti = any($1)) as tokens,
            (select count(*)::integer from audit_events
              where type = 'token.issued' and object_id = any($1)) as "tokenEvents",
            (select count(*)::integer from grants where id = any($2)) as grants,
            (select count(*)::integer from audit_events
              where type = 'grant.requested' and grant_id = any($2)) as "grantEvents"`,
    [jtis, grants],
  );
  const [tokens, requests] = [jtis.length, grants.length];
  expect(kept).toEqual({ tokens, tokenEvents: tokens, grants: requests, grantEvents: requests });
  for (const { answer } of of('introspect')) expect(answer.json.active, answer.text).toBe(true);
}

describe.each([
  ['is stopped', 'SIGINT' as const],
  ['crashes', 'SIGQUIT' as const],
])('a database server that %s and is started again', (_what, signal) => {
  let load: Load;
  let startedMs: number;

  it('results in 503 with Retry-After while it lasts, and in success within 5 s afterwards, without intervention', async () => {
    load = startLoad();
    await allAnswered(load, 0, [200, 201]);
    await server.stop(signal);
    await allAnswered(load, performance.now(), [503]);
    for (const replica of replicas) {
      const ready = { method: 'GET', path: '/readyz', headers: {} };
      await eventually(async () => expect((await send(replica, ready)).status).toBe(503));
    }
    await server.start();
    startedMs = performance.now();
    await allAnswered(load, startedMs, [200, 201]);
    await load.stop();
    for (const one of load.seen.filter((seen) => !good(seen))) expectUnavailable(one);
    for (const one of work) {
      const since = load.seen.filter((seen) => seen.work === one && seen.invokedMs > startedMs);
      const refused = since.findIndex(good);
      expect(refused, `${one.kind} ${one.replica.url}`).not.toBe(-1);
      // The number of requests that fit into 5 s if a response takes no time; on a slow machine fewer requests fit.
      expect(refused * one.paceMs, `${one.kind} ${one.replica.url}`).toBeLessThan(5_000);
    }
    expect(replicas.map(isRunning)).toEqual([true, true]);
  });

  it('keeps every issued token and grant, with its event, once each', async () => {
    await expectKept(load.seen);
    const [all] = await queryOwner<Record<'tokens' | 'events' | 'grants' | 'handed' | 'keys', number>>(
      `select (select count(*)::integer from tokens) as tokens,
              (select count(*)::integer from audit_events where type = 'token.issued') as events,
              (select count(*)::integer from grants where ancestors = '{}') as grants,
              (select count(*)::integer from grants where ancestors <> '{}') as handed,
              (select count(distinct key)::integer from idempotency_keys) as keys`,
    );
    expect(all?.tokens).toBe(all?.events);
    // One grant was requested without a key, and one was delegated from it, however often it was requested.
    expect(all?.grants).toBe((all?.keys ?? 0) + 1);
    expect(all?.handed).toBe(1);
    await queryOwner('delete from idempotency_keys; delete from grants where duration_seconds = 1');
  });
});

it('the jobs continue without intervention', async () => {
  const [now] = await queryOwner<{ at: Date }>('select clock_timestamp() as at');
  const ran = async (): Promise<void> => {
    const [job] = await queryOwner<{ last_finished_at: Date; last_error: null }>(
      "select last_finished_at, last_error from jobs where name = 'expire-grants'",
    );
    expect(job?.last_finished_at.getTime()).toBeGreaterThan(now?.at.getTime() ?? Infinity);
    expect(job?.last_error).toBeNull();
  };
  // A run that the restart interrupted may block its job for the lease of 30 s, and the next slot may be 10 s later.
  await eventually(ran);
  for (const replica of replicas) {
    const ready = { method: 'GET', path: '/readyz', headers: {} };
    expect(await send(replica, ready)).toMatchObject({ status: 200 });
    expect(await replica.drain()).toBe(0);
  }
}, 300_000);
