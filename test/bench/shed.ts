import { fail, median, megabytes, ms, quantile, rate, say, sayTarget, setting } from './figures.ts';
import { openLoop, type ProbeKind, type ProbeReport, probe, type Report } from './open-loop.ts';
import { startPostgres } from './postgres.ts';
import {
  bringTokens,
  load,
  loadMeanwhile,
  perSecond,
  type Run,
  type Server,
  startServer,
  type Target,
} from './support.ts';

/**
 * Minting beyond what can be carried, while introspections and revocations, of tokens and of grants, are asked for by
 * others. When the database is what is slow, the bounded queue fills: at twice the rate that can be carried, whatever
 * is too much must be told 503 with Retry-After, and most of the rate be carried on. When the broker's own core is what
 * is short, telling somebody to come back costs about what a token does: what is too much waits in its connection.
 */
const seconds = setting('SECONDS', 10);
const connections = setting('CONNECTIONS', 64);
const manyConnections = setting('SHED_CONNECTIONS', 4000);
const factor = setting('SHED_FACTOR', 2);
/** A commit of the slow database takes at least this long. */
const slowCommit = { commit_delay: '100000', commit_siblings: '0' };
/** As many as the queue of a broker on the slow database can have under way: fewer would not fill its statements. */
const fillingConnections = 1024;
const bounds = { p99Ms: 2000, memoryBytes: 512 * 2 ** 20 };
const json = 'application/json';
const form = 'application/x-www-form-urlencoded';

async function post(server: Server, path: string, { key, body }: { key?: string; body: object }) {
  const authorization = `Bearer ${key ?? server.about.adminKey}`;
  const response = await fetch(new URL(path, server.target.url), {
    method: 'POST',
    headers: { Authorization: authorization, 'Content-Type': json },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as Record<string, string>;
  if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`);
  return answer;
}

interface Client {
  target: Target;
  brokerToken: string;
}

/** Another agent, whose grants and tokens are revoked; it has as many grants of the resource as it may. */
async function makeVictim(server: Server): Promise<Client & { grantIds: string[] }> {
  const person = { name: 'victim', email: 'victim@example.com', roles: [] };
  const { id: owner } = await post(server, '/v1/admins', { body: person });
  const method = { environment: 'production', token_endpoint_auth_method: 'client_secret_basic' };
  const agent = await post(server, '/v1/agents', { body: { name: 'victim', owner, ...method } });
  const authorization = `Basic ${Buffer.from(`${agent.id}:${agent.client_secret}`).toString('base64')}`;
  const target = { ...server.target, authorization };
  const [brokerToken = ''] = await bringTokens({ ...target, form: 'grant_type=client_credentials' }, 1);
  const request = { resource: server.about.resource, scopes: ['read'], duration_seconds: 3600, reason: 'b' };
  const grantIds: string[] = [];
  for (let n = 0; n < grantsOfVictim; n += 1) {
    const { id = '' } = await post(server, '/v1/grants', { key: brokerToken, body: request });
    grantIds.push(id);
  }
  return { target, brokerToken, grantIds };
}

const grantsOfVictim = 100;
const probes = { introspections: 1000, tokenRevocations: 300 };

async function makeProbes(server: Server): Promise<ProbeKind[]> {
  const { target, grantIds } = await makeVictim(server);
  const to = (path: string): string => new URL(path, target.url).href;
  const { authorization } = target;
  const [token = '', ...revoked] = await bringTokens(target, probes.tokenRevocations + 1);
  const introspection = { url: to('/oauth2/introspect'), authorization, type: form, body: `token=${token}` };
  return [
    {
      name: 'introspections',
      pauseMs: 20,
      // The grant of the token may be among the revoked ones: what is asked for is an answer.
      requests: Array.from({ length: probes.introspections }, () => ({
        ...introspection,
        expected: '"active":',
      })),
    },
    {
      name: 'token revocations',
      pauseMs: 50,
      requests: revoked.map((each) => ({
        url: to('/oauth2/revoke'),
        authorization,
        type: form,
        body: `token=${each}`,
        expected: '',
      })),
    },
    {
      name: 'grant revocations',
      pauseMs: 100,
      requests: grantIds.map((id) => ({
        url: to(`/v1/grants/${id}/revoke`),
        authorization: `Bearer ${server.about.adminKey}`,
        type: json,
        body: '{"reason":"bench"}',
        expected: '"revoked"',
      })),
    },
  ];
}

function describeProbe({ name, ok, wrong, latenciesMs }: ProbeReport): string {
  if (wrong.length > 0) fail(`${name} under overload: ${wrong.join('; ')}`);
  const p99 = quantile(latenciesMs, 0.99);
  if (p99 > bounds.p99Ms) fail(`${name} under overload take longer than ${bounds.p99Ms} ms`);
  const spread = `p50 ${ms(median(latenciesMs))}   p99 ${ms(p99)}   slowest ${ms(quantile(latenciesMs, 1))}`;
  return `${name.padEnd(18)} ${ok} of ${latenciesMs.length} right   ${spread}`;
}

function describeLoad({ sent, ok, shed, bad, lost, okLatency, shedLatency, sendDelay }: Report): void {
  say(`sent ${sent}: 200 ${ok}, 503 with Retry-After ${shed}, anything else ${bad}, lost ${lost}`);
  say(`tokens    p50 ${ms(okLatency.p50)}   p99 ${ms(okLatency.p99)}   slowest ${ms(okLatency.max)}`);
  say(`refusals  p50 ${ms(shedLatency.p50)}   p99 ${ms(shedLatency.p99)}   slowest ${ms(shedLatency.max)}`);
  say(`sent late by p50 ${ms(sendDelay.p50)}   p99 ${ms(sendDelay.p99)}, for want of a free connection`);
  if (bad + lost > 0) fail(`${bad + lost} answers were neither a token nor 503 with Retry-After`);
  if (shed === 0) fail('nothing was refused: whatever cannot be carried waits');
}

async function withBroker(
  settings: Record<string, string>,
  work: (broker: Server) => Promise<void>,
): Promise<void> {
  const database = await startPostgres(settings);
  // Off: one address sends everything here, and its limit would refuse before the queue does.
  const broker = await startServer('hallpass', {
    databaseUrl: database.applicationUrl,
    rateLimitPerSecond: 'off',
  });
  try {
    await work(broker);
    if (!broker.isAlive()) fail('the broker is gone');
  } finally {
    await broker.stop();
    await database.stop();
  }
}

function carriedBy(broker: Server, openConnections: number): number {
  const run = (): Run =>
    load(broker.target, { script: 'post.lua', seconds: 5, connections: openConnections });
  run();
  const { requests, bad, us } = run();
  return perSecond({ requests: requests - bad, us });
}

function sayMemory(broker: Server, before: number): void {
  const { now, peak } = broker.memory();
  say(`memory ${megabytes(before)} before, ${megabytes(peak)} at most, ${megabytes(now)} after`);
  if (peak - before > bounds.memoryBytes) fail(`memory grew by more than ${megabytes(bounds.memoryBytes)}`);
}

async function slowDatabase(broker: Server): Promise<void> {
  const kinds = await makeProbes(broker);
  const full = carriedBy(broker, fillingConnections);
  const { now: before } = broker.memory();
  const order = { perSecond: full * factor, seconds, connections: manyConnections };
  // From the second on in which the overload has built up.
  let probed: Promise<ProbeReport[]> | undefined;
  const onBegin = (): void => {
    probed = probe({ seconds: seconds - 1, kinds });
  };
  const report = await openLoop(broker.target, { ...order, onBegin });
  say('\na database whose commits take 100 ms');
  say(`carried alone ${rate(full)}; offered ${rate(order.perSecond)} over ${manyConnections} connections`);
  describeLoad(report);
  for (const each of (await probed) ?? []) say(describeProbe(each));
  sayMemory(broker, before);
  sayTarget('tokens in overload / carried alone', report.okPerSecond / full, { atLeast: 0.5 });
  const again = carriedBy(broker, fillingConnections);
  sayTarget('carried after the overload / before', again / full, { atLeast: 0.9 });
}

async function busyCore(broker: Server): Promise<void> {
  const kinds = await makeProbes(broker);
  const full = carriedBy(broker, connections);
  const { now: before } = broker.memory();
  const how = { script: 'post.lua', seconds, connections: manyConnections };
  let loading: Promise<Run> | undefined;
  const onBegin = (): void => {
    loading = loadMeanwhile(broker.target, how);
  };
  const probed = await probe({ seconds: seconds - 1, kinds, onBegin });
  const run = await loading;
  if (run === undefined) throw new Error('the probe never began');
  say(`a broker whose core is busy: ${manyConnections} clients that ask again as soon as they are answered`);
  say(
    `carried for ${connections} clients ${rate(full)}; answers ${rate(perSecond(run))}, of them 503: ${run.bad}`,
  );
  say(`latency   p50 ${ms(run.p50 / 1000)}   p99 ${ms(run.p99 / 1000)}`);
  for (const each of probed) say(describeProbe(each));
  sayMemory(broker, before);
  const carried = perSecond({ requests: run.requests - run.bad, us: run.us });
  sayTarget('tokens for so many / carried', carried / full, { atLeast: 0.5 });
}

await withBroker({}, busyCore);
await withBroker(slowCommit, slowDatabase);
