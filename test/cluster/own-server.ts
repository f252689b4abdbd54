import { spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { applicationRole } from '../../src/embedded/bootstrap.ts';
import { openEmbeddedServer } from '../../src/embedded/embedded-server.ts';
import { minimalEnvironment } from '../../src/embedded/run-as.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLog } from '../../src/platform/log.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { atEnd } from '../support/at-end.ts';

/** A PostgreSQL server of one test, which the test can stop and start. */
export interface OwnServer {
  /** The URL of the superuser, in the database `postgres`. */
  adminUrl: string;
  /** The URL of the migrated database, for its owner. */
  ownerUrl: string;
  applicationUrl: string;
  /** Returns the process id of the postmaster, which changes with each start. */
  pid(): number;
  /** Stops the server: SIGINT is "fast", SIGQUIT "immediate" (a crash). Resolves when the process has ended. */
  stop(signal?: 'SIGINT' | 'SIGQUIT'): Promise<void>;
  /** Starts it again on the same port. Resolves when it accepts sessions. */
  start(): Promise<void>;
}

const stepMs = 20;
const mostSteps = 3_000;

async function until(what: string, check: () => boolean | Promise<boolean>): Promise<void> {
  for (let step = 0; step < mostSteps; step += 1) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, stepMs));
  }
  throw new Error(`${what}: not after ${(stepMs * mostSteps) / 1000} s`);
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1_000 });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Returns the command with which the server was started. PostgreSQL stores it in its directory, with each argument in
 * quotes.
 */
function commandOf(data: string): string[] {
  const line = readFileSync(join(data, 'postmaster.opts'), 'utf8').trim();
  const [program = '', ...quoted] = line.split(/ (?=")/);
  return [program, ...quoted.map((argument) => argument.slice(1, -1))];
}

const pidOf = (data: string): number =>
  Number(readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')[0]);

/**
 * Creates, starts and migrates a PostgreSQL server with the durability of production. Removed when the test file
 * ends.
 */
export async function startOwnServer(settings: Record<string, string> = {}): Promise<OwnServer> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hallpass-cluster-'));
  atEnd(() => rm(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }));
  const log = createLog('silent');
  const random = createSystemRandom();
  const server = await openEmbeddedServer({ dataDir, clock: systemClock, log, random, settings });
  const data = join(dataDir, 'server/data');
  let pid = pidOf(data);
  const [program = '', ...args] = commandOf(data);
  const { uid, gid } = statSync(data);
  const stop = async (signal: 'SIGINT' | 'SIGQUIT' = 'SIGINT'): Promise<void> => {
    if (!isRunning(pid)) return;
    process.kill(pid, signal);
    await until('PostgreSQL ends', () => !isRunning(pid));
  };
  atEnd(() => stop('SIGQUIT'));
  const owner = openDatabase({ url: server.ownerUrl, log, maxConnections: 1, applicationName: 'cluster' });
  await migrate(owner.db, applicationRole);
  await owner.close();
  return {
    adminUrl: server.adminUrl,
    ownerUrl: server.ownerUrl,
    applicationUrl: server.applicationUrl,
    pid: () => pid,
    stop,
    async start() {
      // As root, the server's directory is its working directory (src/embedded/server-account.ts).
      const account = { cwd: data, uid, gid, env: minimalEnvironment };
      const child = spawn(program, args, { ...account, detached: true, stdio: 'ignore' });
      child.unref();
      pid = child.pid ?? 0;
      await until('PostgreSQL starts', () => answers(server.adminUrl));
    },
  };
}
