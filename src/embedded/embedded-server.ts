import { BrokerError } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import { defaultCopyRoots, locateNativePackage, prepareBinaries } from './binaries.ts';
import { applicationRole, bootstrapDatabase, databaseName, ownerRole } from './bootstrap.ts';
import {
  type Credentials,
  clusterMajor,
  type DataDirectory,
  openDataDirectory,
  readCredentials,
} from './data-directory.ts';
import { type HeldServer, holdServer } from './hold-server.ts';
import { initializeServer, removeUnfinished } from './initialize.ts';
import { accountOfCluster } from './server-account.ts';
import { stopPostmaster } from './start-postmaster.ts';

export interface EmbeddedServerOptions {
  /** HALLPASS_DATA_DIR as an absolute path; created if missing. */
  dataDir: string;
  clock: Clock;
  log: Log;
  random: Random;
  /** Aborts a start in progress. */
  signal?: AbortSignal;
  /** Called if the lock of the directory is lost, so another broker may take over. At most once, not after `stop`. */
  onLost?: (error: Error) => void;
}

export interface EmbeddedServer {
  /** The URL of the login `hallpass_owner`, which owns and migrates the database. */
  ownerUrl: string;
  /** The URL of the login `hallpass_app`, which owns nothing. */
  applicationUrl: string;
  /** Whether this start created the database. */
  firstStart: boolean;
  /**
   * Stops the server and waits for its end (at most 25 s, then throws `unavailable`).
   * Close the pools before. Idempotent. Does nothing if the lock was lost (`onLost`).
   */
  stop(): Promise<void>;
}

export interface AdministeredServer extends EmbeddedServer {
  /** The URL of the superuser and the database `postgres`. Must not be used for the broker's pools. */
  adminUrl: string;
}

/**
 * Starts, or takes over, the broker's own Postgres under `dataDir` and holds it until
 * `stop` or the end of this process. Throws `unavailable` with one readable line if
 * another broker holds it, it cannot run here, or another major version created it.
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const { ownerUrl, applicationUrl, firstStart, stop } = await openEmbeddedServer(options);
  return { ownerUrl, applicationUrl, firstStart, stop };
}

/**
 * Does the same as `startEmbeddedServer` with further server settings (`{name: value}`), and
 * also returns the superuser's URL, for callers that create databases, such as the test suite.
 */
export async function openEmbeddedServer(
  options: EmbeddedServerOptions & { settings?: Record<string, string> },
): Promise<AdministeredServer> {
  const directory = await openDataDirectory(options.dataDir);
  const { postgres, account } = await prepare(directory, options.random);
  const credentials = await readCredentials(directory.credentials);
  const held = await holdServer({
    account,
    clock: options.clock,
    credentials,
    directory,
    postgres,
    settings: options.settings ?? {},
    signal: options.signal,
  });
  const stop = once(() => stopHeld(held, { directory, clock: options.clock }));
  try {
    await removeUnfinished(directory);
    const firstStart = await bootstrapDatabase(held.lock.client, credentials);
    held.lock.onLost((error) => reportLoss(error, options));
    options.log.info('the embedded Postgres is ready', {
      path: directory.root,
      outcome: firstStart ? 'made' : 'found',
    });
    return { ...urls(held.port, credentials), firstStart, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function reportLoss(error: Error, { log, onLost }: EmbeddedServerOptions): void {
  log.error('the lock of the embedded Postgres was lost', { err: error });
  onLost?.(error);
}

/** Prepares programs that run here and a complete server of their version. */
async function prepare(directory: DataDirectory, random: Random) {
  const account = await accountOfCluster(directory.cluster);
  const binaries = await prepareBinaries({
    account,
    copyRoots: defaultCopyRoots(directory.root),
    package: await locateNativePackage(),
  });
  await initializeServer({ directory, initdb: binaries.initdb, account, random });
  const major = await clusterMajor(directory.cluster);
  if (major !== binaries.major) {
    throw new BrokerError('unavailable', {
      detail:
        `${directory.cluster} was created by Postgres ${major}, but this is Postgres ${binaries.major}: ` +
        'dump it with the older one and restore it, or choose another HALLPASS_DATA_DIR',
    });
  }
  return { account, postgres: binaries.postgres };
}

/** Stops the server. Keeps the lock until then, so that no other broker takes over a server that is about to end. */
async function stopHeld(held: HeldServer, where: { directory: DataDirectory; clock: Clock }): Promise<void> {
  held.lock.expectEnd();
  // After the lock was lost, another broker may have taken the server over.
  if (held.lock.isLost()) return;
  try {
    await stopPostmaster(held.pid, { cluster: where.directory.cluster, clock: where.clock });
  } finally {
    await held.lock.client.end().catch(() => undefined);
  }
}

function urls(
  port: number,
  credentials: Credentials,
): { ownerUrl: string; applicationUrl: string; adminUrl: string } {
  // `sslmode` overrides PGSSLMODE: this server listens on the loopback interface without TLS.
  const url = (role: string, password: string, database: string): string =>
    `postgres://${role}:${password}@127.0.0.1:${port}/${database}?sslmode=disable`;
  return {
    ownerUrl: url(ownerRole, credentials.owner, databaseName),
    applicationUrl: url(applicationRole, credentials.application, databaseName),
    adminUrl: url('postgres', credentials.superuser, 'postgres'),
  };
}

function once(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => {
    running ??= run();
    return running;
  };
}
