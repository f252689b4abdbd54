import { fail, megabytes, ms, print, printTarget, rate, setting } from './figures.ts';
import { openLoop, type ProbeReport, probe, type Report } from './open-loop.ts';
import { startPostgres } from './postgres.ts';
import { makeProbes, sayProbe } from './probes.ts';
import { load, loadMeanwhile, perSecond, type Run, type Server, startServer } from './support.ts';

/**
 * Measures minting above capacity, while other clients introspect and revoke tokens and grants. If the database is
 * the bottleneck, the bounded queue fills: at twice the capacity, the excess must get 503 with Retry-After, and most
 * of the capacity must still be used. If the broker's own core is the bottleneck, refusing would cost about as
 * much as a token, so the excess waits unread in its connections.
 */
const seconds = setting('SECONDS', 10);
const connections = setting('CONNECTIONS', 64);
const manyConnections = setting('SHED_CONNECTIONS', 4000);
const factor = setting('SHED_FACTOR', 2);
/** The minimum duration of a commit of the slow database. */
const slowCommit = { commit_delay: '100000', commit_siblings: '0' };
/**
 * Connections for the capacity of the slow database: enough to fill both statements (2 x 256 tokens), too few to
 * overflow the queue of 1,024.
 */
const fillingConnections = 1024;
const memoryBoundBytes = 512 * 2 ** 20;

function describeLoad({ sent, ok, shed, bad, lost, okLatency, shedLatency, sendDelay }: Report): void {
  print(`sent ${sent}: 200 ${ok}, 503 with Retry-After ${shed}, anything else ${bad}, lost ${lost}`);
  print(`tokens    p50 ${ms(okLatency.p50)}   p99 ${ms(okLatency.p99)}   slowest ${ms(okLatency.max)}`);
  print(`refusals  p50 ${ms(shedLatency.p50)}   p99 ${ms(shedLatency.p99)}   slowest ${ms(shedLatency.max)}`);
  print(`sent late by p50 ${ms(sendDelay.p50)}   p99 ${ms(sendDelay.p99)}, for want of a free connection`);
  if (bad + lost > 0) fail(`${bad + lost} requests got neither a token nor 503 with Retry-After`);
  if (shed === 0) fail('nothing was refused: the excess waits instead');
}

async function withBroker(
  settings: Record<string, string>,
  work: (broker: Server) => Promise<void>,
): Promise<void> {
  const database = await startPostgres(settings);
  // Off, because one address sends everything here, and its rate limit would refuse requests before the queue does.
  const broker = await startServer('hallpass', {
    databaseUrl: database.applicationUrl,
    rateLimitPerSecond: 'off',
  });
  try {
    await work(broker);
    if (!broker.isRunning()) fail('the broker is gone');
  } finally {
    await broker.stop();
    await database.stop();
  }
}

function capacityOf(broker: Server, openConnections: number): number {
  const run = (): Run =>
    load(broker.target, { script: 'post.lua', seconds: 5, connections: openConnections });
  run();
  const { requests, bad, us } = run();
  return perSecond({ requests: requests - bad, us });
}

function sayMemory(broker: Server, before: number): void {
  const { now, peak } = broker.memory();
  print(`memory ${megabytes(before)} before, ${megabytes(peak)} at most, ${megabytes(now)} after`);
  if (peak - before > memoryBoundBytes) fail(`memory grew by more than ${megabytes(memoryBoundBytes)}`);
}

async function slowDatabase(broker: Server): Promise<void> {
  const kinds = await makeProbes(broker);
  const full = capacityOf(broker, fillingConnections);
  const { now: before } = broker.memory();
  const order = { perSecond: full * factor, seconds, connections: manyConnections };
  // The measurement begins when the overload has built up.
  let probed: Promise<ProbeReport[]> | undefined;
  const onBegin = (): void => {
    probed = probe({ seconds: seconds - 1, kinds });
  };
  const report = await openLoop(broker.target, { ...order, onBegin });
  print('\na database whose commits take 100 ms');
  print(`capacity ${rate(full)}; offered ${rate(order.perSecond)} over ${manyConnections} connections`);
  describeLoad(report);
  for (const each of (await probed) ?? []) sayProbe(each);
  sayMemory(broker, before);
  printTarget('tokens in overload / capacity', report.okPerSecond / full, { atLeast: 0.5 });
  const again = capacityOf(broker, fillingConnections);
  printTarget('capacity after the overload / before', again / full, { atLeast: 0.9 });
}

async function busyCore(broker: Server): Promise<void> {
  const kinds = await makeProbes(broker);
  const full = capacityOf(broker, connections);
  const { now: before } = broker.memory();
  const how = { script: 'post.lua', seconds, connections: manyConnections };
  let loading: Promise<Run> | undefined;
  const onBegin = (): void => {
    loading = loadMeanwhile(broker.target, how);
  };
  const probed = await probe({ seconds: seconds - 1, kinds, onBegin });
  const run = await loading;
  if (run === undefined) throw new Error('the probe never began');
  print(
    `a broker whose core is busy: ${manyConnections} clients that ask again as soon as they are answered`,
  );
  print(
    `capacity for ${connections} clients ${rate(full)}; answers ${rate(perSecond(run))}, of them 503: ${run.bad}`,
  );
  print(`latency   p50 ${ms(run.p50 / 1000)}   p99 ${ms(run.p99 / 1000)}`);
  for (const each of probed) sayProbe(each);
  sayMemory(broker, before);
  const tokensPerSecond = perSecond({ requests: run.requests - run.bad, us: run.us });
  printTarget('tokens for many clients / capacity', tokensPerSecond / full, { atLeast: 0.5 });
}

await withBroker({}, busyCore);
await withBroker(slowCommit, slowDatabase);
