import { fail, median, ms, print, rate, setting } from './figures.ts';
import { openLoop, type Report } from './open-loop.ts';
import { startPostgres } from './postgres.ts';
import { load, perSecond, startServer, type Target } from './support.ts';

/**
 * Measures the latency of a token at half of each server's capacity: requests are sent at a constant rate and timed
 * from the instant they were due. Compares with oidc-provider (in memory), in turn.
 */
const rounds = setting('ROUNDS', 3);
const seconds = setting('SECONDS', 5);
const connections = setting('CONNECTIONS', 64);

function describe(name: string, { half, runs }: { half: number; runs: Report[] }): string {
  const [p50, p99] = (['p50', 'p99'] as const).map((key) => median(runs.map((run) => run.okLatency[key])));
  const wrong = runs.reduce((sum, run) => sum + run.shed + run.bad + run.lost, 0);
  if (wrong > 0) fail(`${wrong} answers of ${name} were no token`);
  return `${name.padEnd(14)} at ${rate(half)}   p50 ${ms(p50 ?? 0)}   p99 ${ms(p99 ?? 0)}`;
}

async function main(): Promise<void> {
  const database = await startPostgres();
  const servers = {
    hallpass: await startServer('hallpass', { databaseUrl: database.applicationUrl }),
    'oidc-provider': await startServer('oidc-provider'),
  };
  const names = Object.keys(servers) as (keyof typeof servers)[];
  try {
    const full = (target: Target): number =>
      perSecond(load(target, { script: 'post.lua', seconds, connections }));
    for (const name of names) full(servers[name].target);
    const rates: Record<string, number[]> = { hallpass: [], 'oidc-provider': [] };
    for (let round = 0; round < rounds; round += 1) {
      for (const name of names) rates[name]?.push(full(servers[name].target));
    }
    const half = Object.fromEntries(names.map((name) => [name, median(rates[name] ?? []) / 2]));
    const runs: Record<keyof typeof servers, Report[]> = { hallpass: [], 'oidc-provider': [] };
    for (let round = 0; round < rounds; round += 1) {
      for (const name of names) {
        const order = { perSecond: half[name] ?? 1, seconds, connections };
        runs[name].push(await openLoop(servers[name].target, order));
      }
    }
    for (const name of names) print(describe(name, { half: half[name] ?? 0, runs: runs[name] }));
  } finally {
    for (const server of Object.values(servers)) await server.stop();
    await database.stop();
  }
}

await main();
