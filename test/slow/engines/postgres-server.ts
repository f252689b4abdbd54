import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chmod, chown, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { defaultCopyRoots, type NativePackage, prepareBinaries } from '../../../src/embedded/binaries.ts';
import { findPostmaster } from '../../../src/embedded/postmaster.ts';
import { type Account, chooseAccount, minimalEnvironment } from '../../../src/embedded/run-as.ts';
import { startPostmaster, stopPostmaster } from '../../../src/embedded/start-postmaster.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { atEnd } from '../../support/at-end.ts';
import { eventually } from '../../support/eventually.ts';

/** The data directory of a server and the programs of its version. */
export interface Cluster {
  directory: string;
  path: string;
  account: Account | undefined;
  postgres: string;
}

/** A server that runs until the test file ends. */
export interface PostgresServer {
  port: number;
  /** The URL of the superuser `postgres`, who needs no password. */
  adminUrl: string;
  readLog(): Promise<string>;
}

const packages = join(import.meta.dirname, '../../../.ci/postgres/package.json');

/** Finds the programs of a major version; undefined if `npm ci --prefix .ci/postgres` has not installed them. */
export function findPostgres(major: string): NativePackage | undefined {
  try {
    const root = dirname(dirname(createRequire(packages).resolve(`postgres-${major}`)));
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    return { native: join(root, 'native'), key: `${version}-${process.platform}-${process.arch}` };
  } catch {
    return undefined;
  }
}

/** Everyone except the superuser needs a password, and no password is ever sent in the clear. */
const hba = `
host  replication  postgres  127.0.0.1/32  trust
host  all          postgres  127.0.0.1/32  trust
host  all          all       127.0.0.1/32  scram-sha-256
`;

/** Creates the data directory of a server of a major version. It is removed when the test file ends. */
export async function createCluster(major: string): Promise<Cluster> {
  const native = findPostgres(major);
  if (native === undefined) throw new Error(`PostgreSQL ${major} is not installed`);
  const account = chooseAccount();
  const { directory, path } = await makeDirectory(account);
  const copyRoots = defaultCopyRoots(directory);
  const { initdb, postgres } = await prepareBinaries({ account, copyRoots, package: native });
  await promisify(execFile)(
    initdb,
    ['-D', path, '--username=postgres', '--encoding=UTF8', '--locale=C', '--no-sync', '--auth=reject'],
    { ...account, cwd: '/', env: minimalEnvironment },
  );
  await writeFile(join(path, 'pg_hba.conf'), hba);
  return { directory, path, account, postgres };
}

/** Copies the data directory of a server that has never run, for a standby server. */
export async function copyForStandby(primary: Cluster): Promise<Cluster> {
  const { directory, path } = await makeDirectory(primary.account);
  await promisify(execFile)('cp', ['-a', `${primary.path}/.`, path]);
  await writeFile(join(path, 'standby.signal'), '');
  return { ...primary, directory, path };
}

async function makeDirectory(account: Account | undefined): Promise<{ directory: string; path: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'hallpass-postgres-'));
  atEnd(() => rm(directory, { recursive: true, force: true }));
  // The account of the server must be able to enter it.
  await chmod(directory, 0o755);
  const path = join(directory, 'data');
  await mkdir(path, { mode: 0o700 });
  if (account !== undefined) await chown(path, account.uid, account.gid);
  return { directory, path };
}

/** Copies a file into the data directory, with the owner and mode that the server requires of a private key. */
export async function addFile(cluster: Cluster, source: string, name: string): Promise<void> {
  const target = join(cluster.path, name);
  await copyFile(source, target);
  await promisify(execFile)('chmod', ['600', target]);
  if (cluster.account !== undefined) await chown(target, cluster.account.uid, cluster.account.gid);
}

/** Starts a server on a loopback port and waits until it accepts connections. */
export async function startPostgres(
  cluster: Cluster,
  settings: Record<string, string> = {},
): Promise<PostgresServer> {
  const logPath = join(cluster.directory, 'server.log');
  const { account, postgres, path } = cluster;
  const started = await startPostmaster({
    account,
    cluster: path,
    logPath,
    postgres,
    settings: { fsync: 'off', shared_buffers: '16MB', ...settings },
  });
  started.release();
  const { pid, port } = await eventually(async () => {
    const found = await findPostmaster(path);
    const end = started.ended();
    if (end !== undefined) return { pid: 0, port: 0 };
    if (found.state !== 'ready') throw new Error('the server is not ready');
    return found;
  });
  if (port === 0) throw new Error(`the server did not start: ${started.ended()}`);
  atEnd(() => stopPostmaster(pid, { cluster: path, clock: systemClock }));
  return {
    port,
    adminUrl: `postgres://postgres@127.0.0.1:${port}/postgres?sslmode=disable`,
    readLog: () => readFile(logPath, 'utf8'),
  };
}
