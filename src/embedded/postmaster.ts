import { readFileSync, statSync } from 'node:fs';
import { readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';

/** The content of `postmaster.pid` (Postgres: src/include/utils/pidfile.h). */
export interface PostmasterFile {
  pid: number;
  port: number;
  /** `starting`, `ready`, `stopping`, `standby`; empty while the file is being written. */
  status: string;
}

/** Parses a lock file; undefined if the text is not, or not yet, a complete one. */
export function parsePostmasterFile(text: string): PostmasterFile | undefined {
  const lines = text.split('\n');
  const pid = Number(lines[0]);
  const port = Number(lines[3]);
  if (!Number.isSafeInteger(pid) || pid <= 0 || !Number.isInteger(port) || port <= 0) return undefined;
  return { pid, port, status: (lines[7] ?? '').trim() };
}

/** Whether a process is running. A zombie is not. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
  }
  try {
    // proc_pid_stat(5): pid (comm) state ...; comm may hold anything.
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return process.platform !== 'linux';
  }
}

/**
 * Whether process `pid` is a Postgres server of this cluster. After a crash the number in the lock file
 * may belong to another process, which is likely in a container; in a copied directory it names the server
 * of the original. On Linux the server's working directory decides (its name, if reading that is not
 * permitted). On other systems a running process counts as the server, as it does for Postgres itself.
 */
function isServerOf(cluster: string, pid: number): boolean {
  if (!isRunning(pid)) return false;
  if (process.platform !== 'linux') return true;
  try {
    const theirs = statSync(`/proc/${pid}/cwd`);
    const ours = statSync(cluster);
    return theirs.dev === ours.dev && theirs.ino === ours.ino;
  } catch {
    return commandName(pid) === 'postgres';
  }
}

function commandName(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

/**
 * Returns the `cluster_name` of this cluster's server. A copy of the directory has the
 * same passwords but another name, so a server cannot be mistaken for that of the copy.
 */
export function clusterName(cluster: string): string {
  const { dev, ino } = statSync(cluster);
  return `hallpass ${dev}:${ino}`;
}

/** The server of a cluster: none, one that starts or stops, or one that accepts connections. */
export type Found = { state: 'absent' } | { state: 'busy' | 'ready'; pid: number; port: number };

/**
 * Finds the running server of the cluster. Removes a lock file that names a running process
 * other than the server: Postgres would mistake that process for a server and refuse to start.
 */
export async function findPostmaster(cluster: string): Promise<Found> {
  const path = join(cluster, 'postmaster.pid');
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return { state: 'absent' };
  const file = parsePostmasterFile(text);
  if (file === undefined) return { state: 'absent' };
  if (isServerOf(cluster, file.pid)) {
    return { state: file.status === 'ready' ? 'ready' : 'busy', pid: file.pid, port: file.port };
  }
  if (isRunning(file.pid) && (await readFile(path, 'utf8').catch(() => '')) === text) await unlink(path);
  return { state: 'absent' };
}
