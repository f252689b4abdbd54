import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { openDatabase } from '../../src/db/database.ts';
import { applicationRole } from '../../src/db/embedded/bootstrap.ts';
import { openEmbeddedServer } from '../../src/db/embedded/embedded-server.ts';
import { migrate } from '../../src/db/migrate.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLog } from '../../src/platform/log.ts';
import { createSystemRandom } from '../../src/platform/random.ts';

/**
 * Minting against oidc-provider in memory and a bare Express route: each server alone on core 0, Postgres and wrk on
 * core 1, in turn, so that a noisy machine is noisy for all. Prints medians and their ratios.
 */
const rounds = Number(process.env.BENCH_ROUNDS ?? 5);
const seconds = Number(process.env.BENCH_SECONDS ?? 5);
const connections = Number(process.env.BENCH_CONNECTIONS ?? 64);
const serverCore = '0';
const otherCore = '1';

interface Target {
  url: string;
  authorization: string;
  form: string;
}

interface Run {
  requests: number;
  us: number;
  bad: number;
  errors: number;
  p50: number;
  p99: number;
}

const here = import.meta.dirname;

async function start(name: string, args: string[]): Promise<{ child: ChildProcess; target: Target }> {
  const script = join(here, 'servers', `${name}.child.ts`);
  const command = ['-c', serverCore, process.execPath, '--import', 'tsx', script, ...args];
  const child = spawn('taskset', command, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, NODE_ENV: 'production' },
  });
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { child, target: JSON.parse(line) as Target };
}

function load({ url, authorization, form }: Target): Run {
  const options = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '-s', join(here, 'post.lua')];
  const output = execFileSync(
    'taskset',
    ['-c', otherCore, 'wrk', ...options, url, '--', authorization, form],
    {
      encoding: 'utf8',
    },
  );
  const line = /^JSON (.*)$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`wrk said: ${output}`);
  return JSON.parse(line) as Run;
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

const perSecond = ({ requests, us }: Run): number => (requests * 1e6) / us;

async function readCounters(client: pg.Client) {
  const { rows } = await client.query<Record<string, string>>(
    `select pg_current_wal_insert_lsn() - '0/0'::pg_lsn as wal,
            (select xact_commit from pg_stat_database where datname = current_database()) as commits,
            (select count(*) from tokens) as tokens, (select count(*) from audit_events) as events`,
  );
  return Object.fromEntries(Object.entries(rows[0] ?? {}).map(([name, value]) => [name, Number(value)]));
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function main(): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hallpass-bench-'));
  const log = createLog('warn');
  const server = await openEmbeddedServer({
    dataDir,
    clock: systemClock,
    log,
    random: createSystemRandom(),
    settings: { shared_buffers: '512MB', max_wal_size: '4GB' },
  });
  const pid = readFileSync(join(dataDir, 'server/data/postmaster.pid'), 'utf8').split('\n')[0] ?? '';
  for (const task of [pid, ...execFileSync('pgrep', ['-P', pid], { encoding: 'utf8' }).trim().split('\n')]) {
    execFileSync('taskset', ['-a', '-cp', otherCore, task]);
  }
  const owner = openDatabase({ url: server.ownerUrl, log, maxConnections: 1, applicationName: 'bench' });
  await migrate(owner.db, applicationRole);
  const client = new pg.Client({ connectionString: server.ownerUrl });
  await client.connect();
  const servers = {
    hallpass: await start('hallpass', [server.applicationUrl]),
    'oidc-provider': await start('oidc-provider', []),
    express: await start('express', []),
  };
  const names = Object.keys(servers) as (keyof typeof servers)[];
  try {
    for (const name of names) load(servers[name].target);
    const runs: Record<keyof typeof servers, Run[]> = { hallpass: [], 'oidc-provider': [], express: [] };
    const before = await readCounters(client);
    for (let round = 0; round < rounds; round += 1)
      for (const name of names) runs[name].push(load(servers[name].target));
    const after = await readCounters(client);
    const medians = names.map((name) => [name, median(runs[name].map(perSecond))] as const);
    for (const [name, rate] of medians) {
      const wrong = runs[name].reduce((sum, run) => sum + run.bad + run.errors, 0);
      const p50 = median(runs[name].map((run) => run.p50)) / 1000;
      const p99 = median(runs[name].map((run) => run.p99)) / 1000;
      say(
        `${name.padEnd(14)} ${rate.toFixed(0).padStart(6)} /s   p50 ${p50.toFixed(1)} ms   p99 ${p99.toFixed(1)} ms   wrong ${wrong}`,
      );
    }
    const [[, ours], [, oidc], [, bare]] = medians as [
      (typeof medians)[0],
      (typeof medians)[0],
      (typeof medians)[0],
    ];
    say(
      `hallpass / oidc-provider ${(ours / oidc).toFixed(2)}   hallpass / bare express ${(ours / bare).toFixed(2)}`,
    );
    const delta = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
    const tokens = delta('tokens');
    say(
      `per token: ${(delta('events') / tokens).toFixed(3)} events, ${(delta('commits') / tokens).toFixed(3)} transactions, ` +
        `${(delta('wal') / tokens).toFixed(0)} WAL bytes (${tokens} tokens)`,
    );
  } finally {
    for (const { child } of Object.values(servers)) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    await client.end();
    await owner.close();
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

await main();
