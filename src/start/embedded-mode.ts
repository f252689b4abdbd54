import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, ConfigError } from '../config.ts';
import { type MasterKey, parseMasterKey } from '../crypto/master-key.ts';
import { openDatabase } from '../db/database.ts';
import { migrate } from '../db/migrate.ts';
import { applicationRole } from '../embedded/bootstrap.ts';
import { type EmbeddedServer, startEmbeddedServer } from '../embedded/embedded-server.ts';
import type { Clock } from '../platform/clock.ts';
import { type Issuer, parseIssuer } from '../platform/issuer.ts';
import type { Log } from '../platform/log.ts';
import { generateSecret, type Random } from '../platform/random.ts';

export interface EmbeddedMode {
  databaseUrl: string;
  masterKey: MasterKey;
  /**
   * The configured key of the bootstrap admin, or a new one. It has no effect if the bootstrap admin was ever
   * created.
   */
  bootstrapAdminKey: string;
  stop(): Promise<void>;
}

export interface EmbeddedModeOptions {
  config: Config;
  clock: Clock;
  log: Log;
  random: Random;
  signal: AbortSignal;
  /** Called when this broker has lost its lock, so that another broker may take over the server. */
  onLost: () => void;
}

const masterKeyBytes = 32;

/** Sets up everything that an operator provides in production: server, roles, schema and master key. */
export async function startEmbeddedMode(options: EmbeddedModeOptions): Promise<EmbeddedMode> {
  const { config, clock, log, random, signal, onLost } = options;
  const { dataDirectory: dataDir } = config;
  const server = await startEmbeddedServer({ dataDir, clock, log, random, signal, onLost });
  try {
    await migrateEmbedded(server, log);
    const masterKey = config.masterKey ?? (await ownMasterKey(join(dataDir, 'master-key'), random));
    const bootstrapAdminKey = config.bootstrapAdminKey ?? generateSecret(random, 'hpa');
    return { databaseUrl: server.applicationUrl, masterKey, bootstrapAdminKey, stop: () => server.stop() };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function migrateEmbedded(server: EmbeddedServer, log: Log): Promise<void> {
  const owner = openDatabase({
    url: server.ownerUrl,
    log,
    maxConnections: 1,
    applicationName: 'hallpass migrate',
  });
  try {
    await migrate(owner.db, applicationRole);
  } finally {
    await owner.close();
  }
}

/** Reads the master key from the file `path`. If the file does not exist, creates it (mode 0600) with a new key. */
async function ownMasterKey(path: string, random: Random): Promise<MasterKey> {
  try {
    const file = await open(path, 'wx', 0o600);
    await file.writeFile(`${random.bytes(masterKeyBytes).toString('base64url')}\n`);
    await file.sync();
    await file.close();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
  const text = (await readFile(path, 'utf8')).trim();
  try {
    return parseMasterKey(text);
  } catch (error) {
    throw new ConfigError(path, error instanceof Error ? error.message : 'is not a master key');
  }
}

/** Returns the origin of a server that listens on a loopback host; undefined for another host, which has no name. */
export function loopbackOrigin(host: string, port: number): Issuer | undefined {
  return parseIssuer(`http://${host.includes(':') ? `[${host}]` : host}:${port}`);
}

/**
 * Returns the issuer of a broker without HALLPASS_PUBLIC_URL: the address on which the broker listens. Throws ConfigError
 * unless this is a loopback address.
 */
export function listeningIssuer(host: string, port: number): Issuer {
  const issuer = loopbackOrigin(host, port);
  if (issuer === undefined) {
    throw new ConfigError(
      'HALLPASS_PUBLIC_URL',
      `is missing (needed to listen on ${host}, which is not a loopback address)`,
    );
  }
  return issuer;
}
