import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { openDatabase } from '../../src/db/database.ts';
import { applicationRole, ownerRole } from '../../src/db/embedded/bootstrap.ts';
import { openEmbeddedServer } from '../../src/db/embedded/embedded-server.ts';
import { migrate } from '../../src/db/migrate.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLog } from '../../src/platform/log.ts';
import { createSystemRandom } from '../../src/platform/random.ts';

/** Postgres shares this core with the load; the server under test has the other one for itself. */
export const otherCore = '1';
const bothCores = '0,1';

export interface BenchDatabase {
  name: string;
  ownerUrl: string;
  applicationUrl: string;
  /** The superuser, in this database. */
  adminUrl: string;
}

export interface BenchPostgres extends BenchDatabase {
  /** Another migrated database on the same server. */
  createDatabase(name: string): Promise<BenchDatabase>;
  /** A file for file copy of a database that nobody is connected to, on disk before this resolves. */
  copyDatabase(from: BenchDatabase, name: string): Promise<BenchDatabase>;
  dropDatabase(database: BenchDatabase): Promise<void>;
  /** Lets the server have both cores while `work` makes rows: nothing is measured meanwhile. */
  withBothCores(work: () => Promise<void>): Promise<void>;
  stop(): Promise<void>;
}

const log = createLog('warn');

function pin(postmaster: string, cores: string): void {
  const children = execFileSync('pgrep', ['-P', postmaster], { encoding: 'utf8' }).trim().split('\n');
  for (const task of [postmaster, ...children]) {
    try {
      execFileSync('taskset', ['-a', '-cp', cores, task], { stdio: 'pipe' });
    } catch {
      // A session that has ended since.
    }
  }
}

async function migrateAt(ownerUrl: string): Promise<void> {
  const owner = openDatabase({ url: ownerUrl, log, maxConnections: 1, applicationName: 'bench' });
  await migrate(owner.db, applicationRole);
  await owner.close();
}

/** Runs statements on a connection of their own, without the broker's timeouts. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** A migrated embedded Postgres of its own, with the durability of production, on the other core. */
export async function startPostgres(settings: Record<string, string> = {}): Promise<BenchPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hallpass-bench-'));
  const memory = { shared_buffers: '512MB', max_wal_size: '4GB' };
  const random = createSystemRandom();
  const options = { dataDir, clock: systemClock, log, random, settings: { ...memory, ...settings } };
  const server = await openEmbeddedServer(options);
  const pid = readFileSync(join(dataDir, 'server/data/postmaster.pid'), 'utf8').split('\n')[0] ?? '';
  pin(pid, otherCore);
  await migrateAt(server.ownerUrl);
  const at = (url: string, name: string): string =>
    Object.assign(new URL(url), { pathname: `/${name}` }).href;
  const named = (name: string): BenchDatabase => ({
    name,
    ownerUrl: at(server.ownerUrl, name),
    applicationUrl: at(server.applicationUrl, name),
    adminUrl: at(server.adminUrl, name),
  });
  const administer = (text: string) => withClient(server.adminUrl, (client) => client.query(text));
  return {
    ...named(new URL(server.ownerUrl).pathname.slice(1)),
    async createDatabase(name) {
      await administer(`create database ${name} owner ${ownerRole}`);
      await migrateAt(named(name).ownerUrl);
      return named(name);
    },
    async copyDatabase(from, name) {
      await administer(`create database ${name} template ${from.name} strategy file_copy owner ${ownerRole}`);
      return named(name);
    },
    async dropDatabase({ name }) {
      await administer(`drop database ${name} with (force)`);
    },
    async withBothCores(work) {
      pin(pid, bothCores);
      await work().finally(() => pin(pid, otherCore));
    },
    async stop() {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
