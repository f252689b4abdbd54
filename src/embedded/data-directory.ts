import { lstatSync, type Stats } from 'node:fs';
import { mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BrokerError } from '../errors.ts';
import type { Random } from '../platform/random.ts';

/**
 * The directory of the embedded server. Everything is in `server`, which only this user can enter (0700) and which
 * one rename publishes when it is complete: there is never half a cluster, nor a cluster without its passwords.
 */
export interface DataDirectory {
  /** HALLPASS_DATA_DIR as an absolute path. */
  root: string;
  server: string;
  /** PGDATA. If the broker runs as root, it belongs to the unprivileged account. */
  cluster: string;
  credentials: string;
  log: string;
}

const credentialsSchema = z.strictObject({
  superuser: z.string().min(1),
  owner: z.string().min(1),
  application: z.string().min(1),
});

/** The generated password of each login. */
export type Credentials = z.infer<typeof credentialsSchema>;

/** Returns the paths within a server directory, which may be complete or in preparation. */
export function serverPaths(server: string): Omit<DataDirectory, 'root'> {
  return {
    server,
    cluster: join(server, 'data'),
    credentials: join(server, 'credentials.json'),
    log: join(server, 'server.log'),
  };
}

function unusable(detail: string, cause?: unknown): BrokerError {
  return new BrokerError('unavailable', { detail, cause });
}

/**
 * Creates the directory (0700) if it is missing. An existing one keeps its mode,
 * because it may hold other files. Throws `unavailable` if it cannot be created.
 */
export async function openDataDirectory(root: string): Promise<DataDirectory> {
  try {
    await mkdir(root, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unusable(`cannot create the data directory ${root}: ${String(error)}`, error);
  }
  return { root, ...serverPaths(join(root, 'server')) };
}

function lstatOrUndefined(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw unusable(`cannot use the data directory: ${String(error)}`, error);
  }
}

/**
 * Whether a complete server exists. Throws `unavailable` if another user owns it or can write it:
 * any user could have put it into a world-writable directory, and as root the broker would trust it.
 */
export function serverExists(directory: DataDirectory): boolean {
  const entry = lstatOrUndefined(directory.server);
  if (entry === undefined) return false;
  const us = process.geteuid?.();
  if (!entry.isDirectory() || entry.uid !== us || (entry.mode & 0o022) !== 0) {
    throw unusable(
      `${directory.server} must be a directory of user ${String(us)} that nobody else may write ` +
        `(it belongs to user ${entry.uid}): start as that user or choose another HALLPASS_DATA_DIR`,
    );
  }
  return true;
}

/** Generates three passwords of 256 bits. */
export function generateCredentials(random: Random): Credentials {
  const password = (): string => random.bytes(32).toString('base64url');
  return { superuser: password(), owner: password(), application: password() };
}

/** Writes the passwords (0600) and syncs the file. */
export async function writeCredentials(path: string, credentials: Credentials): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(credentials)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Reads the passwords. Throws `unavailable` if the file is missing or damaged. */
export async function readCredentials(path: string): Promise<Credentials> {
  try {
    return credentialsSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    throw unusable(`the passwords of the embedded Postgres in ${path} cannot be read`, error);
  }
}

/** Reads the major version of the cluster, for example `17`. Throws `unavailable` if it is not a cluster. */
export async function clusterMajor(cluster: string): Promise<string> {
  try {
    return (await readFile(join(cluster, 'PG_VERSION'), 'utf8')).trim();
  } catch (error) {
    throw unusable(`${cluster} is not a Postgres data directory`, error);
  }
}

const alreadyThere = new Set(['EEXIST', 'ENOTEMPTY']);

/**
 * Publishes a complete server. Returns false if another broker has published one first, which then stays.
 */
export async function publishServer(directory: DataDirectory, made: string): Promise<boolean> {
  try {
    await rename(made, directory.server);
  } catch (error) {
    if (error instanceof Error && 'code' in error && alreadyThere.has(String(error.code))) return false;
    throw error;
  }
  const parent = await open(directory.root, 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
  return true;
}

const largestLogBytes = 16 * 1024 * 1024;

/** Renames a large server log and keeps one old log, so that the logs do not grow without limit. */
export async function rotateLog(path: string): Promise<void> {
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  if (size < largestLogBytes) return;
  await rename(path, `${path}.1`);
}
