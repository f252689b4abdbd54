import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openDatabase } from '../../src/db/database.ts';
import { applicationRole } from '../../src/db/embedded/bootstrap.ts';
import { openEmbeddedServer } from '../../src/db/embedded/embedded-server.ts';
import { migrate } from '../../src/db/migrate.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLog } from '../../src/platform/log.ts';
import { createSystemRandom } from '../../src/platform/random.ts';

/** The server under test has core 0 for itself; Postgres and the load share core 1. */
const serverCore = '0';
const otherCore = '1';
const here = import.meta.dirname;

/** How to ask a server for a token. */
interface Target {
  url: string;
  authorization: string;
  form: string;
}

export interface Server {
  target: Target;
  /** Whether the process still runs. */
  isAlive(): boolean;
  stop(): Promise<void>;
}

/** What wrk saw; latencies in microseconds. `bad`: answers other than 200. */
export interface Run {
  requests: number;
  us: number;
  bad: number;
  errors: number;
  p50: number;
  p99: number;
}

/** Starts a server of `servers/` and waits for its first line. */
export async function startServer(name: string, args: string[] = []): Promise<Server> {
  const script = join(here, 'servers', `${name}.child.ts`);
  const child: ChildProcess = spawn(
    'taskset',
    ['-c', serverCore, process.execPath, '--import', 'tsx', script, ...args],
    { stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, NODE_ENV: 'production' } },
  );
  if (child.stdout === null) throw new Error('no output to read');
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const isAlive = (): boolean => child.exitCode === null && child.signalCode === null;
  return {
    target: JSON.parse(line) as Target,
    isAlive,
    async stop() {
      if (!isAlive()) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** Loads a server with wrk for some seconds, over loopback, with a script of this folder. */
export function load(
  { url, authorization, form }: Target,
  { script, seconds, connections }: { script: string; seconds: number; connections: number },
): Run {
  const options = ['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '-s', join(here, script)];
  const command = ['-c', otherCore, 'wrk', ...options, url, '--', authorization, form];
  const output = execFileSync('taskset', command, { encoding: 'utf8' });
  const line = /^JSON (.*)$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`wrk said: ${output}`);
  return JSON.parse(line) as Run;
}

export interface BenchDatabase {
  ownerUrl: string;
  applicationUrl: string;
  stop(): Promise<void>;
}

/** A migrated embedded Postgres of its own, with the durability of production, on the other core. */
export async function startDatabase(): Promise<BenchDatabase> {
  const dataDir = await mkdtemp(join(tmpdir(), 'hallpass-bench-'));
  const log = createLog('warn');
  const settings = { shared_buffers: '512MB', max_wal_size: '4GB' };
  const random = createSystemRandom();
  const server = await openEmbeddedServer({ dataDir, clock: systemClock, log, random, settings });
  const pid = readFileSync(join(dataDir, 'server/data/postmaster.pid'), 'utf8').split('\n')[0] ?? '';
  for (const task of [pid, ...execFileSync('pgrep', ['-P', pid], { encoding: 'utf8' }).trim().split('\n')]) {
    execFileSync('taskset', ['-a', '-cp', otherCore, task]);
  }
  const owner = openDatabase({ url: server.ownerUrl, log, maxConnections: 1, applicationName: 'bench' });
  await migrate(owner.db, applicationRole);
  await owner.close();
  return {
    ...server,
    async stop() {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export const say = (line: string): void => void process.stdout.write(`${line}\n`);

export const perSecond = ({ requests, us }: Run): number => (requests * 1e6) / us;
