import { BrokerError } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { Credentials, DataDirectory } from './data-directory.ts';
import { connectSuperuser, type DirectoryLock, isPassing, takeLock } from './directory-lock.ts';
import { clusterName, findPostmaster } from './postmaster.ts';
import type { Account } from './run-as.ts';
import { type StartedPostmaster, startPostmaster, stopPostmaster } from './start-postmaster.ts';
import { pause } from './wait.ts';

/** A running server whose lock this process holds. */
export interface HeldServer {
  lock: DirectoryLock;
  pid: number;
  port: number;
}

export interface HoldRequest {
  account: Account | undefined;
  clock: Clock;
  credentials: Credentials;
  directory: DataDirectory;
  postgres: string;
  settings: Record<string, string>;
  signal: AbortSignal | undefined;
}

/** Errors after which a server may start soon; Postgres logs in English under the locale C. */
const passingFailures = [
  // Another process has taken the port meanwhile.
  /could not bind/i,
  /could not create any TCP\/IP sockets/i,
  // Another broker has started the server, or the sessions of a killed server have not all ended.
  /lock file .* already exists/i,
  /pre-existing shared memory block/i,
];

const stepMs = 50;
/** Waits up to 120 s, because a server may have to recover from a crash. */
const mostSteps = 2_400;
const mostFailures = 100;

/**
 * Holds the server of the directory: a running one (left by a killed broker), otherwise one that it starts. Postgres
 * ensures that there is at most one server, even if two brokers start it at the same instant. Only one broker can have the
 * lock of the server; a broker without the lock is refused and leaves the server alone. Throws `unavailable` if another
 * broker has the lock or the server does not start, or the signal's reason.
 */
export async function holdServer(request: HoldRequest): Promise<HeldServer> {
  const { cluster } = request.directory;
  let started: StartedPostmaster | undefined;
  let failures = 0;
  try {
    for (let step = 0; step < mostSteps; step += 1) {
      request.signal?.throwIfAborted();
      const found = await findPostmaster(cluster);
      if (found.state === 'ready') {
        const lock = await tryToHold(found.port, request);
        if (lock !== undefined) return { lock, pid: found.pid, port: found.port };
      }
      const failure = started?.ended();
      if (failure !== undefined) {
        started = undefined;
        failures += 1;
        if (failures >= mostFailures || !passingFailures.some((known) => known.test(failure)))
          throw failed(failure);
      }
      if (found.state === 'absent' && started === undefined) {
        started = await startPostmaster({ ...request, cluster, logPath: request.directory.log });
      }
      await pause(request.clock, stepMs);
    }
    throw failed('it is not ready after 120 s');
  } catch (error) {
    if (started !== undefined) await takeDown(started, request);
    throw error;
  } finally {
    started?.release();
  }
}

/** Stops a server that this process started and gave up, unless another broker holds it meanwhile. */
async function takeDown(started: StartedPostmaster, request: HoldRequest): Promise<void> {
  const { cluster } = request.directory;
  const found = await findPostmaster(cluster);
  if (found.state === 'ready') {
    const lock = await tryToHold(found.port, request).catch(() => undefined);
    if (lock === undefined) return;
    lock.expectEnd();
    await stopPostmaster(found.pid, { cluster, clock: request.clock });
    await lock.client.end().catch(() => undefined);
    return;
  }
  started.kill('SIGQUIT');
  for (let step = 0; step < mostFailures && started.ended() === undefined; step += 1) {
    await pause(request.clock, stepMs);
  }
}

function failed(reason: string): BrokerError {
  return new BrokerError('unavailable', { detail: `the embedded Postgres did not start: ${reason}` });
}

/** Takes the lock of a ready server; undefined if the server has ended meanwhile. */
async function tryToHold(port: number, request: HoldRequest): Promise<DirectoryLock | undefined> {
  const lock = await connectSuperuser(port, request.credentials.superuser);
  if (lock === undefined) return undefined;
  try {
    await checkIdentity(lock, request.directory);
    await takeLock(lock, { clock: request.clock, root: request.directory.root });
    return lock;
  } catch (error) {
    lock.expectEnd();
    await lock.client.end().catch(() => undefined);
    if (isPassing(error)) return undefined;
    throw error;
  }
}

async function checkIdentity({ client }: DirectoryLock, { cluster }: DataDirectory): Promise<void> {
  const { rows } = await client.query<{ name: string }>(`select current_setting('cluster_name') as name`);
  if (rows[0]?.name === clusterName(cluster)) return;
  throw new BrokerError('unavailable', {
    detail:
      `the server in ${cluster}/postmaster.pid is another one: ` +
      'if the directory is a copy, remove that file; if the server was started by hand, stop it',
  });
}
