import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { BrokerError } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import { rotateLog } from './data-directory.ts';
import { clusterName, findPostmaster, isRunning } from './postmaster.ts';
import { type Account, minimalEnvironment } from './run-as.ts';
import { clusterStart } from './server-account.ts';
import { pause } from './wait.ts';

/** A server process that this process started, and that may fail to start up. */
export interface StartedPostmaster {
  /** Returns why it ended, with the end of its log; undefined while it runs. */
  ended(): string | undefined;
  /** Sends a signal unless it has ended. */
  kill(signal: NodeJS.Signals): void;
  /** Stops it from keeping this process alive. */
  release(): void;
}

export interface PostmasterRequest {
  account: Account | undefined;
  cluster: string;
  /** Further settings, `name=value`. */
  settings: Record<string, string>;
  logPath: string;
  postgres: string;
}

/** All other settings keep their defaults (`fsync` and `synchronous_commit` stay on). */
const baseSettings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  // Statements and rows may contain secrets, so only the error message is logged.
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
};

/**
 * Starts Postgres on a free loopback port in its own session: no signal to this process group (Ctrl-C, SIGTERM
 * of a supervisor) reaches it, it inherits no environment, and it outlives this process in every case.
 */
export async function startPostmaster(request: PostmasterRequest): Promise<StartedPostmaster> {
  const start = clusterStart(request.cluster, request.account);
  const settings = {
    cluster_name: clusterName(request.cluster),
    ...baseSettings,
    ...request.settings,
    port: String(await freePort()),
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  await rotateLog(request.logPath);
  const log = openSync(request.logPath, 'a', 0o600);
  const logStart = statSync(request.logPath).size;
  let ended: string | undefined;
  try {
    const child = spawn(request.postgres, ['-D', start.pgdata, ...args], {
      ...start.account,
      cwd: start.cwd,
      detached: true,
      env: minimalEnvironment,
      stdio: ['ignore', log, log],
    });
    child.once('error', (error) => {
      ended ??= String(error);
    });
    child.once('exit', (code, signal) => {
      const tail = readFileSync(request.logPath).subarray(logStart).toString('utf8').slice(-2000).trim();
      ended ??= `exit ${String(code ?? signal)}: ${tail}`;
    });
    return {
      ended: () => ended,
      kill: (signal) => void (ended === undefined && child.kill(signal)),
      release: () => child.unref(),
    };
  } finally {
    closeSync(log);
  }
}

/** Finds a loopback port that was free a moment ago. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}

const stepMs = 25;

/**
 * The signals that stop a server, in order, and how long to wait after each: "fast" (sessions end, all is written),
 * then "immediate".
 */
const stopSignals = [
  { signal: 'SIGINT', forMs: 20_000 },
  { signal: 'SIGQUIT', forMs: 5_000 },
] as const;

/**
 * Stops the server `pid` of the cluster and waits until it has ended (at most 25 s, then
 * throws `unavailable`). Does nothing if the cluster has no server, or another one.
 */
export async function stopPostmaster(
  pid: number,
  { cluster, clock }: { cluster: string; clock: Clock },
): Promise<void> {
  const found = await findPostmaster(cluster);
  if (found.state === 'absent' || found.pid !== pid) return;
  for (const { signal, forMs } of stopSignals) {
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    for (let waitedMs = 0; waitedMs < forMs; waitedMs += stepMs) {
      if (!isRunning(pid)) return;
      await pause(clock, stepMs);
    }
  }
  throw new BrokerError('unavailable', { detail: `the embedded Postgres (process ${pid}) does not stop` });
}
