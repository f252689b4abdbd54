import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { atEnd } from '../../support/at-end.ts';
import { root } from './build.ts';

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface BrokerProcess {
  child: ChildProcess;
  stdout(): string;
  stderr(): string;
  /** Resolves when standard output or error contains `text`; throws if the process ends before. */
  seen(text: string): Promise<void>;
  exited: Promise<Exit>;
}

type Env = Record<string, string | undefined>;

/**
 * The environment that a process needs to start. It has none of the test's own variables. `node` is the one that runs
 * the tests.
 */
const baseEnv: Env = {
  PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
  HOME: process.env.HOME,
  HALLPASS_METRICS_PORT: '0',
  HALLPASS_GATEWAY_PORT: '0',
};

interface Place {
  cwd?: string;
  /** Runs as this user and group instead of the current one. */
  uid?: number | undefined;
}

/** Runs the built broker, or another command of the repository. Killed when the test file ends, if it still runs. */
export function launch(
  env: Env,
  command: string[] = ['node', 'dist/main.js'],
  { cwd = root, uid }: Place = {},
): BrokerProcess {
  const [file = 'node', ...args] = command;
  const child = spawn(file, args, {
    cwd,
    env: { ...baseEnv, ...env } as NodeJS.ProcessEnv,
    ...(uid === undefined ? {} : { uid, gid: uid }),
    stdio: ['ignore', 'pipe', 'pipe'],
    // In its own process group, so that child processes of npm can be ended with it.
    detached: true,
  });
  let stdout = '';
  let stderr = '';
  const watchers = new Set<() => void>();
  const notify = (): void => {
    for (const watcher of [...watchers]) watcher();
  };
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
    notify();
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
    notify();
  });
  const exited = once(child, 'close').then(([code, signal]) => ({
    code: code as number | null,
    signal: signal as NodeJS.Signals | null,
    stdout,
    stderr,
  }));
  let running = true;
  void exited.then(() => {
    running = false;
  });
  atEnd(async () => {
    if (running) await killGroup(child);
  });
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    exited,
    seen: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!stdout.includes(text) && !stderr.includes(text)) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
        void exited.then(() => reject(new Error(`ended before it said "${text}":\n${stdout}${stderr}`)));
      }),
  };
}

async function killGroup(child: ChildProcess): Promise<void> {
  const closed = once(child, 'close');
  if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  await closed;
}

/** Creates a data directory for this test file. A PostgreSQL server that is left in it is killed when the file ends. */
export async function temporaryDirectory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'hallpass-e2e-'));
  await chmod(path, 0o755);
  atEnd(async () => {
    await killServerOf(path);
    await rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  });
  return path;
}

async function killServerOf(dataDir: string): Promise<void> {
  try {
    const file = await readFile(join(dataDir, 'server/data/postmaster.pid'), 'utf8');
    process.kill(Number(file.split('\n')[0]), 'SIGKILL');
  } catch {
    // It was stopped, or never started.
  }
}
