import { lstatSync, type Stats } from 'node:fs';
import { mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BrokerError } from '../../errors.ts';
import type { Random } from '../../platform/random.ts';

/**
 * Where the embedded server keeps what it has. Everything is in `server`, which only we can enter (0700) and which
 * appears by one rename when it is complete: there is never half a cluster, nor a cluster without its passwords.
 */
export interface DataDirectory {
  /** What the user named: HALLPASS_DATA_DIR, an absolute path. */
  root: string;
  server: string;
  /** PGDATA. As root it belongs to the unprivileged account. */
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

/** The names within `server`, complete or still being made. */
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
 * Makes the directory (0700) if it is missing; one that exists keeps its mode, it may hold other things.
 * Throws `unavailable` if it cannot be made.
 */
export async function openDataDirectory(root: string): Promise<DataDirectory> {
  try {
    await mkdir(root, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unusable(`cannot make the data directory ${root}: ${String(error)}`, error);
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
 * Whether a complete server is there. Throws `unavailable` if what is there is not ours alone: anyone could have
 * put it into a directory that others may write, and as root we would trust it.
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

/** Three passwords of 256 bits. */
export function generateCredentials(random: Random): Credentials {
  const password = (): string => random.bytes(32).toString('base64url');
  return { superuser: password(), owner: password(), application: password() };
}

/** Writes the passwords (0600), on the disk when it returns. */
export async function writeCredentials(path: string, credentials: Credentials): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(`${JSON.stringify(credentials)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Reads the passwords; throws `unavailable` if they are gone or damaged. */
export async function readCredentials(path: string): Promise<Credentials> {
  try {
    return credentialsSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    throw unusable(`the passwords of the embedded Postgres in ${path} cannot be read`, error);
  }
}

/** The major version that made the cluster, e.g. `17`; throws `unavailable` if it is not a cluster. */
export async function clusterMajor(cluster: string): Promise<string> {
  try {
    return (await readFile(join(cluster, 'PG_VERSION'), 'utf8')).trim();
  } catch (error) {
    throw unusable(`${cluster} is not a Postgres data directory`, error);
  }
}

const alreadyThere = new Set(['EEXIST', 'ENOTEMPTY']);

/**
 * Puts a complete server in its place. False if another broker was first, whose server then stands.
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

/** Puts a large server log aside (one generation is kept), so that it does not grow for ever. */
export async function rotateLog(path: string): Promise<void> {
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  if (size < largestLogBytes) return;
  await rename(path, `${path}.1`);
}
