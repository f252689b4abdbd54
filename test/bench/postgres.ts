import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { applicationRole, ownerRole } from '../../src/embedded/bootstrap.ts';
import { openEmbeddedServer } from '../../src/embedded/embedded-server.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLog } from '../../src/platform/log.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { childrenOf, processorSecondsOfFamily } from './processor-time.ts';

/** Postgres shares this core with the load; the server under test has the other one for itself. */
export const otherCore = '1';
/** With `BENCH_SHARED_CORE=1`, Postgres shares the core of the server instead. */
const postgresCore = process.env.BENCH_SHARED_CORE === '1' ? '0' : otherCore;
const bothCores = '0,1';

export interface BenchDatabase {
  name: string;
  ownerUrl: string;
  applicationUrl: string;
  /** The URL of the superuser, in this database. */
  adminUrl: string;
}

export interface BenchPostgres extends BenchDatabase {
  /** Creates another migrated database on the same server. */
  createDatabase(name: string): Promise<BenchDatabase>;
  /** Copies the files of a database without connections. Everything is on disk when this resolves. */
  copyDatabase(from: BenchDatabase, name: string): Promise<BenchDatabase>;
  dropDatabase(database: BenchDatabase): Promise<void>;
  /** Allows the server both cores while `work` creates rows. No measurement runs meanwhile. */
  withBothCores(work: () => Promise<void>): Promise<void>;
  /** Returns the processor time used so far, in seconds. */
  cpuSeconds(): number;
  stop(): Promise<void>;
}

const log = createLog('warn');

function pin(postmaster: number, cores: string): void {
  for (const task of [postmaster, ...childrenOf(postmaster)]) {
    try {
      execFileSync('taskset', ['-a', '-cp', cores, String(task)], { stdio: 'pipe' });
    } catch {
      // The session has ended meanwhile.
    }
  }
}

async function migrateAt(ownerUrl: string): Promise<void> {
  const owner = openDatabase({ url: ownerUrl, log, maxConnections: 1, applicationName: 'bench' });
  await migrate(owner.db, applicationRole);
  await owner.close();
}

/** Runs statements on a separate connection without the broker's timeouts. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Starts a migrated embedded Postgres with the durability of production, on the other core. */
export async function startPostgres(settings: Record<string, string> = {}): Promise<BenchPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hallpass-bench-'));
  const memory = { shared_buffers: '512MB', max_wal_size: '4GB' };
  const random = createSystemRandom();
  const options = { dataDir, clock: systemClock, log, random, settings: { ...memory, ...settings } };
  const server = await openEmbeddedServer(options);
  const pid = Number.parseInt(readFileSync(join(dataDir, 'server/data/postmaster.pid'), 'utf8'), 10);
  pin(pid, postgresCore);
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
      await work().finally(() => pin(pid, postgresCore));
    },
    cpuSeconds: () => processorSecondsOfFamily(pid),
    async stop() {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
