import { readFileSync, statSync } from 'node:fs';
import { readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';

/** What `postmaster.pid` says (Postgres: src/include/utils/pidfile.h). */
export interface PostmasterFile {
  pid: number;
  port: number;
  /** `starting`, `ready`, `stopping`, `standby`; empty while the file is being written. */
  status: string;
}

/** Undefined for a text that is not, or not yet, a whole lock file. */
export function parsePostmasterFile(text: string): PostmasterFile | undefined {
  const lines = text.split('\n');
  const pid = Number(lines[0]);
  const port = Number(lines[3]);
  if (!Number.isSafeInteger(pid) || pid <= 0 || !Number.isInteger(port) || port <= 0) return undefined;
  return { pid, port, status: (lines[7] ?? '').trim() };
}

/** Whether a process runs (one that ended and was not waited for does not). */
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
 * Whether process `pid` is a Postgres server of this cluster. After a crash the number in the lock file may belong to
 * anything, and does so readily in a container; in a copied directory it names the original's server. On Linux the
 * server's working directory tells (or, without the right to look, its name). Elsewhere a running process is believed
 * to be the server, as Postgres itself believes.
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
 * The `cluster_name` of this cluster's server. A copy of the directory has the same passwords but another name, so a
 * server is never taken for the copy's.
 */
export function clusterName(cluster: string): string {
  const { dev, ino } = statSync(cluster);
  return `hallpass ${dev}:${ino}`;
}

/** A server of the cluster: none, one that starts or stops, or one that takes connections. */
export type Found = { state: 'absent' } | { state: 'busy' | 'ready'; pid: number; port: number };

/**
 * Looks for a running server of the cluster. A lock file that names a living process which is not the server is
 * removed: Postgres would take that process for a server and refuse to start.
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
