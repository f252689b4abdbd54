import { fail, median, ms, print, printTarget, rate, setting } from './figures.ts';
import { type BenchDatabase, startPostgres, withClient } from './postgres.ts';
import { fillTokens } from './rows.ts';
import { measureStartUp } from './start-up.ts';
import {
  fetchTokens,
  load,
  perSecond,
  postForm,
  type Run,
  type Server,
  startServer,
  type Target,
} from './support.ts';

/**
 * Measures minting and introspection with millions of tokens and as many audit events in the database, against an
 * empty database on the same server, in turn; then how long the built broker takes to start with them.
 */
const rows = setting('ROWS', 5_000_000);
const rounds = setting('ROUNDS', 7);
const seconds = setting('SECONDS', 5);
const connections = setting('CONNECTIONS', 64);
const tokens = setting('TOKENS', 1000);

type Name = 'empty' | 'aged';
const names: readonly Name[] = ['empty', 'aged'];

function describe(name: string, runs: Run[]): string {
  const [p50, p99] = (['p50', 'p99'] as const).map((key) => median(runs.map((run) => run[key])) / 1000);
  const wrong = runs.reduce((sum, run) => sum + run.bad + run.errors, 0);
  if (wrong > 0) fail(`${wrong} answers of ${name} were wrong`);
  return `${name.padEnd(24)} ${rate(median(runs.map(perSecond)))}   p50 ${ms(p50 ?? 0)}   p99 ${ms(p99 ?? 0)}`;
}

/** Loads both in turn. Returns how much slower the aged one is. */
function compare(what: string, targets: Record<Name, Target>, script: string): number {
  const runs: Record<Name, Run[]> = { empty: [], aged: [] };
  for (const name of names) load(targets[name], { script, seconds, connections });
  for (let round = 0; round < rounds; round += 1) {
    for (const name of names) runs[name].push(load(targets[name], { script, seconds, connections }));
  }
  for (const name of names) print(describe(`${what}, ${name}`, runs[name]));
  return median(runs.empty.map(perSecond)) / median(runs.aged.map(perSecond));
}

async function asking({ target }: Server): Promise<Target> {
  const url = new URL('/oauth2/introspect', target.url).href;
  const forms = (await fetchTokens(target, tokens)).map((token) => `token=${token}`);
  const first = (await (await postForm({ ...target, url }, forms[0] ?? '')).json()) as { active: boolean };
  if (!first.active) fail('a token that was just issued is inactive');
  return { ...target, url, forms };
}

async function describeRows({ adminUrl }: BenchDatabase): Promise<string> {
  const result = await withClient(adminUrl, (client) =>
    client.query<{ parent: string; rows: string; parts: string; size: string }>(
      `select p.relname as parent, sum(c.reltuples)::bigint as rows,
              count(*) filter (where c.reltuples > 0) as parts, pg_size_pretty(sum(pg_total_relation_size(c.oid))) as size
         from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
        where c.relkind = 'r' group by 1 order by 1`,
    ),
  );
  return result.rows
    .map(({ parent, rows: n, parts, size }) => `${n} ${parent} in ${parts} partitions, ${size}`)
    .join('; ');
}

async function main(): Promise<void> {
  const postgres = await startPostgres();
  const servers: Partial<Record<Name, Server>> = {};
  try {
    const databases = {
      empty: await postgres.createDatabase('empty'),
      aged: await postgres.createDatabase('aged'),
    };
    const startedAt = performance.now();
    await fillTokens(postgres, databases.aged, rows);
    const tookSeconds = ((performance.now() - startedAt) / 1000).toFixed(0);
    print(`${await describeRows(databases.aged)}; made in ${tookSeconds} s`);
    const empty = await startServer('hallpass', { databaseUrl: databases.empty.applicationUrl });
    servers.empty = empty;
    const aged = await startServer('hallpass', { databaseUrl: databases.aged.applicationUrl });
    servers.aged = aged;
    const minting = compare('mint', { empty: empty.target, aged: aged.target }, 'post.lua');
    const targets = { empty: await asking(empty), aged: await asking(aged) };
    const asked = compare('introspect', targets, 'forms.lua');
    await aged.stop();
    printTarget('minting, empty / aged', minting, { atMost: 1.1 });
    printTarget('introspection, empty / aged', asked, { atMost: 1.1 });
    const url = databases.aged.applicationUrl;
    const startUpMs = await measureStartUp({ url, masterKey: aged.about.masterKey ?? '' });
    printTarget('seconds from start to ready', startUpMs / 1000, { atMost: 10 });
  } finally {
    for (const server of Object.values(servers)) await server.stop();
    await postgres.stop();
  }
}

await main();
