import pg from 'pg';
import { fail, median, say, sayTarget, setting } from './figures.ts';
import { startPostgres } from './postgres.ts';
import { load, perSecond, type Run, startServer } from './support.ts';

/**
 * Minting against oidc-provider in memory and a bare Express route: each server alone on core 0, Postgres and wrk on
 * core 1, in turn, so that a noisy machine is noisy for all. Prints medians and their ratios.
 */
const rounds = setting('ROUNDS', 7);
const options = {
  script: 'post.lua',
  seconds: setting('SECONDS', 5),
  connections: setting('CONNECTIONS', 64),
};

/** Everything that minting adds to the database, so far. */
async function readCounters(client: pg.Client): Promise<Record<string, number>> {
  const { rows } = await client.query<Record<string, string>>(
    `select pg_current_wal_insert_lsn() - '0/0'::pg_lsn as wal,
            (select xact_commit from pg_stat_database where datname = current_database()) as commits,
            (select count(*) from tokens) as tokens, (select count(*) from audit_events) as events`,
  );
  return Object.fromEntries(Object.entries(rows[0] ?? {}).map(([name, value]) => [name, Number(value)]));
}

function describe(name: string, runs: Run[]): string {
  const rate = median(runs.map(perSecond)).toFixed(0).padStart(6);
  const [p50, p99] = (['p50', 'p99'] as const).map((key) =>
    (median(runs.map((run) => run[key])) / 1000).toFixed(1),
  );
  const wrong = runs.reduce((sum, run) => sum + run.bad + run.errors, 0);
  if (wrong > 0) fail(`${wrong} answers of ${name} were none or wrong`);
  return `${name.padEnd(14)} ${rate} /s   p50 ${p50} ms   p99 ${p99} ms`;
}

function describeCost(before: Record<string, number>, after: Record<string, number>): string {
  const delta = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
  const per = (name: string, digits: number): string => (delta(name) / delta('tokens')).toFixed(digits);
  const rows = ((delta('tokens') + delta('events')) / delta('tokens')).toFixed(3);
  return `per token: ${rows} rows, ${per('commits', 3)} statements, ${per('wal', 0)} WAL bytes (${delta('tokens')} tokens)`;
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
    const before = await readCounters(client);
    for (let round = 0; round < rounds; round += 1) {
      for (const name of names) runs[name].push(load(servers[name].target, options));
    }
    const after = await readCounters(client);
    for (const name of names) say(describe(name, runs[name]));
    const ours = median(runs.hallpass.map(perSecond));
    const ratio = (name: 'oidc-provider' | 'express'): number => ours / median(runs[name].map(perSecond));
    sayTarget('minting, hallpass / oidc-provider', ratio('oidc-provider'), { atLeast: 2 });
    say(`minting, hallpass / bare express: ${ratio('express').toFixed(2)}`);
    say(describeCost(before, after));
  } finally {
    for (const server of Object.values(servers)) await server.stop();
    await client.end();
    await database.stop();
  }
}

await main();
