import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, ConfigError } from '../config.ts';
import { type MasterKey, parseMasterKey } from '../crypto/master-key.ts';
import { openDatabase } from '../db/database.ts';
import { applicationRole } from '../db/embedded/bootstrap.ts';
import { type EmbeddedServer, startEmbeddedServer } from '../db/embedded/embedded-server.ts';
import { migrate } from '../db/migrate.ts';
import { type Issuer, parseIssuer } from '../oauth/issuer.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import { generateSecret, type Random } from '../platform/random.ts';

export interface EmbeddedMode {
  databaseUrl: string;
  masterKey: MasterKey;
  /** A fresh key for the first admin; of use only if there never was one. */
  bootstrapAdminKey: string;
  stop(): Promise<void>;
}

export interface EmbeddedModeOptions {
  config: Config;
  clock: Clock;
  log: Log;
  random: Random;
  signal: AbortSignal;
  /** The server is no longer ours. */
  onLost: () => void;
}

const masterKeyBytes = 32;

/** Everything that an operator sets up in production, made by itself: server, roles, schema, master key. */
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

/** The master key in `path`, made (0600) if there is none. */
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

/** Where the broker is found if nobody says so: where it listens. */
export function listeningIssuer(host: string, port: number): Issuer {
  const issuer = parseIssuer(`http://${host.includes(':') ? `[${host}]` : host}:${port}`);
  if (issuer === undefined) {
    throw new ConfigError(
      'HALLPASS_PUBLIC_URL',
      `is missing (needed to listen on ${host}, which is no loopback address)`,
    );
  }
  return issuer;
}
