import pg from 'pg';
import { print } from './figures.ts';
import { startPostgres } from './postgres.ts';
import { load, startServer } from './support.ts';

/**
 * Runs a minute of full minting load in which Cedar decides every token (each request has another address, so no
 * cached decision applies). Fails if the process dies, or a response is not a token with its row and event.
 */
const seconds = Number(process.env.SOAK_SECONDS ?? 60);

async function main(): Promise<void> {
  const database = await startPostgres();
  const broker = await startServer('hallpass', {
    databaseUrl: database.applicationUrl,
    trustedProxies: ['127.0.0.0/8'],
  });
  const client = new pg.Client({ connectionString: database.ownerUrl });
  await client.connect();
  try {
    const run = load(broker.target, { script: 'soak.lua', seconds, connections: 64 });
    const { rows } = await client.query<{ tokens: string; events: string; addresses: string }>(
      `select (select count(*) from tokens where grant_id is not null) as tokens, count(*) as events,
              count(distinct source_ip) as addresses
         from audit_events where type = 'token.issued' and grant_id is not null`,
    );
    const { tokens = '0', events = '0', addresses = '0' } = rows[0] ?? {};
    print(`${run.requests} tokens in ${(run.us / 1e6).toFixed(0)} s from ${addresses} addresses`);
    print(
      `wrong answers ${run.bad + run.errors}, process runs ${broker.isRunning()}, rows ${tokens}, events ${events}`,
    );
    const complete = Number(tokens) >= run.requests && tokens === events;
    process.exitCode = broker.isRunning() && run.bad + run.errors === 0 && complete ? 0 : 1;
  } finally {
    await broker.stop();
    await client.end();
    await database.stop();
  }
}

await main();
