import { fail, median, ms, print, printTarget, rate, setting } from './figures.ts';
import { startPostgres, withClient } from './postgres.ts';
import { adapterTable } from './servers/postgres-adapter.ts';
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
 * Measures introspection of many different tokens by the client they were issued to. Compares with oidc-provider,
 * which introspects opaque tokens that a plain adapter stores in the same Postgres: with the same client
 * authentication and the same number of database connections. oidc-provider looks for a token of client_credentials
 * under two models, so a third server has tokens that it finds with one look-up, which is its minimum.
 */
const rounds = setting('ROUNDS', 7);
const options = {
  script: 'forms.lua',
  seconds: setting('SECONDS', 5),
  connections: setting('CONNECTIONS', 64),
};
const count = setting('TOKENS', 1000);
/** The number of connections that the broker has for minting and introspection. */
const databaseConnections = 6;

/** Returns the target that introspects these tokens in turn. Checks first that each is active. */
async function asking(server: Server, path: string, tokens: string[]): Promise<Target> {
  const { authorization, form, url } = server.target;
  // With this hint, oidc-provider needs the fewest look-ups.
  const forms = tokens.map((token) => `token=${token}&token_type_hint=access_token`);
  const asked = { url: new URL(path, url).href, authorization, form, forms };
  for (const each of forms) {
    const body = (await (await postForm(asked, each)).json()) as { active: boolean };
    if (!body.active) fail(`${asked.url} calls a token that it has just issued inactive`);
  }
  return asked;
}

interface Measured extends Run {
  cpuSeconds: number;
}

function measure(server: Server, target: Target): Measured {
  const before = server.cpuSeconds();
  const run = load(target, options);
  return { ...run, cpuSeconds: server.cpuSeconds() - before };
}

function describe(name: string, runs: Measured[]): string {
  const [p50, p99] = (['p50', 'p99'] as const).map((key) => median(runs.map((run) => run[key])) / 1000);
  const wrong = runs.reduce((sum, run) => sum + run.bad + run.errors, 0);
  if (wrong > 0) fail(`${wrong} answers of ${name} were not 200 with "active":true`);
  const cpu = median(runs.map((run) => (run.cpuSeconds / run.requests) * 1e6)).toFixed(0);
  const speed = rate(median(runs.map(perSecond)));
  return `${name.padEnd(26)} ${speed}   p50 ${ms(p50 ?? 0)}   p99 ${ms(p99 ?? 0)}   ${cpu} us of its core each`;
}

async function main(): Promise<void> {
  const database = await startPostgres();
  await withClient(database.ownerUrl, (client) => client.query(adapterTable));
  const peer = { databaseUrl: database.applicationUrl, connections: databaseConnections };
  const servers = {
    hallpass: await startServer('hallpass', { databaseUrl: database.applicationUrl }),
    peer: await startServer('oidc-provider', peer),
    lean: await startServer('oidc-provider', { ...peer, accessTokens: count }),
  };
  try {
    const path = '/token/introspection';
    const ours = await fetchTokens(servers.hallpass.target, count);
    const theirs = await fetchTokens(servers.peer.target, count);
    const targets = {
      hallpass: await asking(servers.hallpass, '/oauth2/introspect', ours),
      peer: await asking(servers.peer, path, theirs),
      lean: await asking(servers.lean, path, (servers.lean.about.tokens ?? '').split(' ')),
    };
    const names = Object.keys(targets) as (keyof typeof targets)[];
    const runs: Record<keyof typeof targets, Measured[]> = { hallpass: [], peer: [], lean: [] };
    for (const name of names) load(targets[name], options);
    for (let round = 0; round < rounds; round += 1) {
      for (const name of names) runs[name].push(measure(servers[name], targets[name]));
    }
    print(describe('hallpass', runs.hallpass));
    print(describe('oidc-provider', runs.peer));
    print(describe('oidc-provider, one look-up', runs.lean));
    const ratio = (name: 'peer' | 'lean'): number =>
      median(runs.hallpass.map(perSecond)) / median(runs[name].map(perSecond));
    printTarget('introspection, hallpass / oidc-provider', ratio('peer'), { atLeast: 1.5 });
    print(`introspection, hallpass / oidc-provider with one look-up: ${ratio('lean').toFixed(2)}`);
  } finally {
    for (const server of Object.values(servers)) await server.stop();
    await database.stop();
  }
}

await main();
