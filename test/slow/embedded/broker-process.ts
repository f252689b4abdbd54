import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client } from 'pg';

export interface BrokerAnswer {
  ownerUrl: string;
  applicationUrl: string;
  adminUrl: string;
  firstStart: boolean;
  error?: string;
}

export interface BrokerProcess {
  child: ChildProcess;
  answer: BrokerAnswer;
  /** Closes the input of the process, which stops the server. Resolves to the exit code. */
  stop(): Promise<number | null>;
  /** Sends kill -9. */
  kill(): Promise<void>;
}

const script = new URL('./broker.child.ts', import.meta.url).pathname;
const tsx = import.meta.resolve('tsx');

/** Starts a broker in a separate process on a data directory, and waits for its first line. */
export async function startBroker(
  dataDir: string,
  options: { uid?: number; gid?: number; env?: Record<string, string> } = {},
): Promise<BrokerProcess> {
  const child = spawn(process.execPath, ['--import', tsx, script, dataDir], {
    ...options,
    cwd: '/',
    env: { PATH: process.env.PATH, ...options.env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout });
  const exited = once(child, 'exit');
  const first = await Promise.race([once(lines, 'line'), exited.then(() => once(lines, 'line'))]);
  return {
    child,
    answer: JSON.parse(String(first[0])) as BrokerAnswer,
    async stop() {
      child.stdin.end();
      return ((await exited) as [number | null])[0];
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/**
 * Returns an empty directory (0700), and a function that removes it. Servers left in its data directories are killed.
 */
export async function temporaryDataDir(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'hallpass-embedded-'));
  await chmod(path, 0o700);
  return {
    path,
    async remove() {
      for (const name of await readdir(path)) killServer(join(path, name));
      await rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
    },
  };
}

/** Returns the process id in the lock file of a data directory. */
export function postmasterPid(dataDir: string): number {
  return Number(readFileSync(join(dataDir, 'server', 'data', 'postmaster.pid'), 'utf8').split('\n')[0]);
}

function killServer(dataDir: string): void {
  try {
    process.kill(postmasterPid(dataDir), 'SIGKILL');
  } catch {
    // The server was stopped.
  }
}

/** Runs one statement with the login of a URL. */
export async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}
