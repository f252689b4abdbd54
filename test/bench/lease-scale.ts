import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fail, median, megabytes, ms, print, printTarget, rate, setting } from './figures.ts';
import { endingCalls } from './lease-accounts.ts';
import { openLoop, type Report } from './open-loop.ts';
import { type BenchPostgres, startPostgres, withClient } from './postgres.ts';
import { fillLeases } from './rows.ts';
import { load, perSecond, type Server, startServer } from './support.ts';

/**
 * Measures how two replicas end leases that have all expired, of several fake targets: the rate, the memory of the
 * replicas, and whether each lease is ended exactly once. Then measures minting at half of the capacity of a replica,
 * in turns while it is idle and while both replicas end further leases.
 */
const leases = setting('LEASES', 1_000_000);
const targets = setting('TARGETS', 10);
const rounds = setting('ROUNDS', 5);
const segmentSeconds = setting('SECONDS', 4);
/** The leases that end beside minting in each round. They must last for longer than the load. */
const leasesPerRound = setting('LEASES_PER_ROUND', 30_000);
const connections = setting('CONNECTIONS', 64);
const all = leases + rounds * leasesPerRound;

interface Bench {
  postgres: BenchPostgres;
  replicas: Server[];
}

/** Registers the targets and gets a grant for each, with which the leases are inserted. */
async function createTargets({ target, about }: Server): Promise<void> {
  const post = async (path: string, body: object, key = about.adminKey): Promise<void> => {
    const response = await fetch(new URL(path, target.url), {
      method: 'POST',
      headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  };
  for (let n = 1; n <= targets; n += 1) {
    const identifier = `postgres://target-${n}.internal/orders`;
    const connection = {
      host: `target-${n}.internal`,
      database: 'orders',
      username: 'admin',
      password: 'admin',
    };
    const scopes = [{ name: 'read', description: 'Read', risk: 'low', roles: ['reader'] }];
    const terms = { kind: 'postgres', max_grant_seconds: 86_400, scopes, connection };
    await post('/v1/resources', { identifier, name: `Target ${n}`, ...terms });
    const request = { resource: identifier, scopes: ['read'], duration_seconds: 86_400, reason: 'bench' };
    await post('/v1/grants', request, about.brokerToken);
  }
}

async function countRemoved({ replicas }: Bench): Promise<number> {
  let sum = 0;
  for (const replica of replicas)
    sum += (await replica.order<{ removed: number }>({ countRemoved: true })).removed;
  return sum;
}

const lookEveryMs = 250;

/** Waits until `count` accounts are removed. Calls `look` with the number from time to time. */
async function untilRemoved(bench: Bench, count: number, look: (removed: number) => void = () => {}) {
  for (let last = { removed: 0, atMs: performance.now() }; ; ) {
    const removed = await countRemoved(bench);
    look(removed);
    if (removed >= count) return;
    if (removed > last.removed) last = { removed, atMs: performance.now() };
    if (performance.now() - last.atMs > 60_000) throw new Error(`no lease ended for 60 s after ${removed}`);
    await sleep(lookEveryMs);
  }
}

const shares = [0.1, 0.5, 1];

/** Ends all leases in otherwise idle replicas. Prints the rate, and the memory when shares of them have ended. */
async function endAll(bench: Bench): Promise<void> {
  const { postgres, replicas } = bench;
  await fillLeases(postgres, postgres, { count: leases, from: 1 });
  print(`${leases} expired leases of ${targets} targets`);
  const memory: { share: number; bytes: number[] }[] = [];
  const startedAt = performance.now();
  const cpuBefore = replicas.map((replica) => replica.cpuSeconds());
  const postgresBefore = postgres.cpuSeconds();
  for (const replica of replicas) await replica.order({ startWorker: true });
  await untilRemoved(bench, leases, (removed) => {
    for (const share of shares.slice(memory.length))
      if (removed >= share * leases) memory.push({ share, bytes: replicas.map((each) => each.memory().now) });
  });
  const seconds = (performance.now() - startedAt) / 1000;
  const micros = (used: number): string => `${((used * 1e6) / leases).toFixed(0)} us`;
  const used = replicas.reduce((sum, each, n) => sum + each.cpuSeconds() - (cpuBefore[n] ?? 0), 0);
  print(`leases ended by two replicas ${rate(leases / seconds)} (${seconds.toFixed(1)} s)`);
  print(
    `processor time of a lease: replicas ${micros(used)}, PostgreSQL ${micros(postgres.cpuSeconds() - postgresBefore)}`,
  );
  for (const { share, bytes } of memory)
    print(`resident memory at ${share * 100} %: ${bytes.map(megabytes).join(' and ')}`);
  const [first, , last] = memory.map(({ bytes }) => Math.max(...bytes));
  printTarget('memory at the end / at 10 %', (last ?? 0) / (first ?? 1), { atMost: 1.2 });
}

async function mint({ target }: Server, perSecondThen: number): Promise<Report> {
  return openLoop(target, { perSecond: perSecondThen, seconds: segmentSeconds, connections });
}

/** Mints at half of the capacity, in turns in an idle replica and while leases end. */
async function besideMinting(bench: Bench): Promise<void> {
  const { postgres, replicas } = bench;
  const [replica] = replicas as [Server];
  const half = perSecond(load(replica.target, { script: 'post.lua', seconds: 5, connections })) / 2;
  const alone: Report[] = [];
  const beside: Report[] = [];
  const speeds: number[] = [];
  for (let round = 0, ended = leases; round < rounds; round += 1) {
    await withClient(postgres.adminUrl, (client) => client.query('checkpoint'));
    alone.push(await mint(replica, half));
    await fillLeases(postgres, postgres, { count: leasesPerRound, from: ended + 1 });
    const before = await countRemoved(bench);
    beside.push(await mint(replica, half));
    const removed = (await countRemoved(bench)) - before;
    speeds.push(removed / segmentSeconds);
    ended += leasesPerRound;
    if (before + removed >= ended) fail('the leases ended before the load: set BENCH_LEASES_PER_ROUND');
    await untilRemoved(bench, ended);
  }
  const wrong = [...alone, ...beside].reduce((sum, run) => sum + run.shed + run.bad + run.lost, 0);
  if (wrong > 0) fail(`${wrong} answers were no token`);
  const p99 = (runs: Report[]): number => median(runs.map(({ okLatency }) => okLatency.p99));
  const p50 = (runs: Report[]): number => median(runs.map(({ okLatency }) => okLatency.p50));
  print(
    `minting ${rate(half)}: idle p50 ${ms(p50(alone))} p99 ${ms(p99(alone))}, beside endings p50 ${ms(p50(beside))} p99 ${ms(p99(beside))}; leases ended meanwhile ${rate(median(speeds))}`,
  );
  printTarget('minting p99 beside endings / idle', p99(beside) / p99(alone), { atMost: 2 });
}

/** Checks that both replicas together ended each account exactly once. */
async function checkCalls({ replicas }: Bench): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'hallpass-calls-'));
  for (const [n, replica] of replicas.entries())
    await replica.order({ writeCalls: join(directory, String(n)) });
  for (const call of endingCalls) {
    const counts = replicas.map((_, n) => readFileSync(join(directory, `${n}.${call}`)));
    const wrong = { never: 0, again: 0 };
    for (let account = 1; account <= all; account += 1) {
      const times = counts.reduce((sum, each) => sum + (each[account] ?? 0), 0);
      if (times === 0) wrong.never += 1;
      if (times > 1) wrong.again += 1;
    }
    print(`${call}: never for ${wrong.never} accounts, more than once for ${wrong.again}`);
    if (wrong.never + wrong.again > 0) fail(`${call} was not called once for each account`);
  }
  rmSync(directory, { recursive: true });
}

/** Checks that every lease is written as ended, with one event of each type. */
async function checkRows({ postgres }: Bench): Promise<void> {
  await withClient(postgres.adminUrl, async (client) => {
    const { rows: open } = await client.query<{ n: string }>(
      "select count(*) as n from leases where status <> 'revoked' or cleaned_up_at is null or attempts <> 0",
    );
    if (Number(open[0]?.n) > 0) fail(`${open[0]?.n} leases are not written as ended`);
    const { rows } = await client.query<{ type: string; events: string; leases: string }>(
      `select type, count(*) as events, count(distinct object_id) as leases
         from audit_events where object_id like 'lse_%' group by type order by type`,
    );
    for (const { type, events, leases: ofLeases } of rows) {
      print(`${type}: ${events} events of ${ofLeases} leases`);
      if (Number(events) !== all || Number(ofLeases) !== all)
        fail(`not one ${type} for each of ${all} leases`);
    }
    if (rows.length !== endingCalls.length) fail(`there are ${rows.length} types of events instead of 3`);
  });
}

async function main(): Promise<void> {
  const postgres = await startPostgres();
  const options = { databaseUrl: postgres.applicationUrl, countedAccounts: all };
  const first = await startServer('hallpass', options);
  const { authorization, form } = first.target;
  const second = await startServer('hallpass', {
    ...options,
    about: { ...first.about, authorization, form },
  });
  const bench = { postgres, replicas: [first, second] };
  try {
    await createTargets(first);
    await endAll(bench);
    await besideMinting(bench);
    await checkCalls(bench);
    await checkRows(bench);
  } finally {
    await Promise.all(bench.replicas.map((replica) => replica.stop()));
    await postgres.stop();
  }
}

await main();
