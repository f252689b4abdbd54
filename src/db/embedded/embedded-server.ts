import { BrokerError } from '../../errors.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Log } from '../../platform/log.ts';
import type { Random } from '../../platform/random.ts';
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
  /** HALLPASS_DATA_DIR as an absolute path; made if missing. */
  dataDir: string;
  clock: Clock;
  log: Log;
  random: Random;
  /** Gives up a start that is under way. */
  signal?: AbortSignal;
  /** The directory is no longer ours: another broker may take the server over. Called at most once, not after `stop`. */
  onLost?: (error: Error) => void;
}

export interface EmbeddedServer {
  /** Login `hallpass_owner`, which owns the database and migrates it. */
  ownerUrl: string;
  /** Login `hallpass_app`, which owns nothing. */
  applicationUrl: string;
  /** Whether the database was made by this start. */
  firstStart: boolean;
  /**
   * Stops the server and waits for it (25 s at most, then `unavailable`). Close the pools before. Idempotent. A server
   * that was lost (`onLost`) is left alone.
   */
  stop(): Promise<void>;
}

export interface AdministeredServer extends EmbeddedServer {
  /** The superuser, database `postgres`. Never for the broker's pools. */
  adminUrl: string;
}

/**
 * Starts, or takes over, the broker's own Postgres under `dataDir` and holds it until `stop` or our death. Throws
 * `unavailable` with one readable line: another broker holds it, it cannot run here, it was made by another
 * major version.
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const { ownerUrl, applicationUrl, firstStart, stop } = await openEmbeddedServer(options);
  return { ownerUrl, applicationUrl, firstStart, stop };
}

/**
 * The same, with the superuser's URL and further server settings (`{name: value}`): for what makes databases
 * of its own, like a test suite.
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
  log.error('the embedded Postgres is no longer held', { err: error });
  onLost?.(error);
}

/** Programs that run here and a complete server of their version. */
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
        `${directory.cluster} was made by Postgres ${major} and this is Postgres ${binaries.major}: ` +
        'dump it with the older one and restore it, or choose another HALLPASS_DATA_DIR',
    });
  }
  return { account, postgres: binaries.postgres };
}

/** The lock is kept until the server has ended, so that nobody takes over a server that is about to end. */
async function stopHeld(held: HeldServer, where: { directory: DataDirectory; clock: Clock }): Promise<void> {
  held.lock.expectEnd();
  // Who lost the lock has no say any more: another broker may have taken the server over.
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
  // sslmode: whatever PGSSLMODE says of other servers, this one listens on the loopback in the clear.
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
