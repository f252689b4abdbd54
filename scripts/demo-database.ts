import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import pg from 'pg';
import { openEmbeddedServer } from '../src/embedded/embedded-server.ts';
import { systemClock } from '../src/platform/clock.ts';
import { createLog } from '../src/platform/log.ts';
import { createSystemRandom, generateSecret } from '../src/platform/random.ts';

/**
 * Plays the database of a company, for the walk in docs/leases.md.
 *
 * - `node --import tsx scripts/demo-database.ts` starts a PostgreSQL under `.hallpass-demo`, apart from the broker's own,
 *   prints the `connection` of a resource for it as JSON, and runs until it is stopped.
 * - `node --import tsx scripts/demo-database.ts LEASE SQL` runs a statement with the credential of the lease in the file LEASE
 *   and prints the rows, or the error.
 */
const [leaseFile, statement] = process.argv.slice(2);

const roles = `
  create role orders_reader;
  create table orders as select n as id, n * 10 as amount from generate_series(1, 42) n;
  grant select on orders to orders_reader;
  create role hallpass_admin login createrole;
  grant orders_reader to hallpass_admin with admin true, inherit false, set false`;

if (leaseFile === undefined) await serve();
else await query(leaseFile, statement ?? 'select current_user');

async function serve(): Promise<void> {
  const random = createSystemRandom();
  const dataDir = resolve('.hallpass-demo');
  const server = await openEmbeddedServer({ dataDir, clock: systemClock, log: createLog('warn'), random });
  const admin = new pg.Client({ connectionString: server.adminUrl });
  await admin.connect();
  const { rows } = await admin.query("select from pg_roles where rolname = 'hallpass_admin'");
  if (rows.length === 0) await admin.query(roles);
  const password = generateSecret(random, 'hpl');
  await admin.query(`grant connect on database postgres to public`);
  await admin.query(`alter role hallpass_admin password '${password}'`);
  await admin.end();
  const { hostname: host, port } = new URL(server.adminUrl);
  const connection = { host, port: Number(port), database: 'postgres', username: 'hallpass_admin', password };
  process.stdout.write(`${JSON.stringify({ ...connection, tls: { mode: 'off' } })}\n`);
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  await server.stop();
}

async function query(file: string, text: string): Promise<void> {
  const { credential } = JSON.parse(readFileSync(file, 'utf8')) as { credential: Record<string, string> };
  const { username: user, ...rest } = credential;
  const client = new pg.Client({ ...rest, port: Number(rest.port), user });
  try {
    await client.connect();
    for (const row of (await client.query(text)).rows) process.stdout.write(`${JSON.stringify(row)}\n`);
  } catch (error) {
    process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
  } finally {
    await client.end().catch(() => undefined);
  }
}
