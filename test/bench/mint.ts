import pg from 'pg';
import { fail, median, print, printTarget, setting } from './figures.ts';
import { type BenchPostgres, startPostgres } from './postgres.ts';
import { load, perSecond, type Run, type Server, startServer } from './support.ts';

/**
 * Compares minting with oidc-provider in memory and with a bare Express route: each server alone on core 0, Postgres
 * and wrk on core 1, in turn, so that noise affects all of them. Prints medians and their ratios.
 */
const rounds = setting('ROUNDS', 7);
const options = {
  script: 'post.lua',
  seconds: setting('SECONDS', 5),
  connections: setting('CONNECTIONS', 64),
};

interface Cost {
  client: pg.Client;
  broker: Server;
  database: BenchPostgres;
}

/** Reads how many rows and bytes minting has added to the database so far, and the processor time used. */
async function readCounters({ client, broker, database }: Cost): Promise<Record<string, number>> {
  const { rows } = await client.query<Record<string, string>>(
    `select pg_current_wal_insert_lsn() - '0/0'::pg_lsn as wal,
            (select xact_commit from pg_stat_database where datname = current_database()) as commits,
            (select count(*) from tokens) as tokens, (select count(*) from audit_events) as events`,
  );
  const counters = Object.entries(rows[0] ?? {}).map(([name, value]) => [name, Number(value)]);
  const cpu = { broker: broker.cpuSeconds() * 1e6, postgres: database.cpuSeconds() * 1e6 };
  return { ...Object.fromEntries(counters), ...cpu };
}

function describe(name: string, runs: Run[]): string {
  const rate = median(runs.map(perSecond)).toFixed(0).padStart(6);
  const [p50, p99] = (['p50', 'p99'] as const).map((key) =>
    (median(runs.map((run) => run[key])) / 1000).toFixed(1),
  );
  const wrong = runs.reduce((sum, run) => sum + run.bad + run.errors, 0);
  if (wrong > 0) fail(`${wrong} requests to ${name} got a wrong response or none`);
  return `${name.padEnd(14)} ${rate} /s   p50 ${p50} ms   p99 ${p99} ms`;
}

function describeCost(before: Record<string, number>, after: Record<string, number>): string {
  const delta = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
  const per = (name: string, digits: number): string => (delta(name) / delta('tokens')).toFixed(digits);
  const rows = ((delta('tokens') + delta('events')) / delta('tokens')).toFixed(3);
  const cost = `${rows} rows, ${per('commits', 3)} statements, ${per('wal', 0)} WAL bytes`;
  const cpu = `processor time: broker ${per('broker', 0)} us, PostgreSQL ${per('postgres', 0)} us`;
  return `per token: ${cost}; ${cpu} (${delta('tokens')} tokens)`;
}

async function main(): Promise<void> {
  const database = await startPostgres();
  const client = new pg.Client({ connectionString: database.ownerUrl });
  await client.connect();
  const servers = {
    hallpass: await startServer('hallpass', { databaseUrl: database.applicationUrl }),
    'oidc-provider': await startServer('oidc-provider'),
    express: await startServer('express'),
  };
  const names = Object.keys(servers) as (keyof typeof servers)[];
  try {
    for (const name of names) load(servers[name].target, options);
    const runs: Record<keyof typeof servers, Run[]> = { hallpass: [], 'oidc-provider': [], express: [] };
    const cost = { client, broker: servers.hallpass, database };
    const before = await readCounters(cost);
    for (let round = 0; round < rounds; round += 1) {
      for (const name of names) runs[name].push(load(servers[name].target, options));
    }
    const after = await readCounters(cost);
    for (const name of names) print(describe(name, runs[name]));
    const ours = median(runs.hallpass.map(perSecond));
    const ratio = (name: 'oidc-provider' | 'express'): number => ours / median(runs[name].map(perSecond));
    printTarget('minting, hallpass / oidc-provider', ratio('oidc-provider'), { atLeast: 2 });
    print(`minting, hallpass / bare express: ${ratio('express').toFixed(2)}`);
    print(describeCost(before, after));
  } finally {
    for (const server of Object.values(servers)) await server.stop();
    await client.end();
    await database.stop();
  }
}

await main();
