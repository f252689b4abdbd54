import { spawn } from 'node:child_process';
import { chown, type FileHandle, mkdir, mkdtemp, open, readdir, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BrokerError } from '../errors.ts';
import type { Random } from '../platform/random.ts';
import {
  type Credentials,
  type DataDirectory,
  generateCredentials,
  publishServer,
  serverExists,
  serverPaths,
  writeCredentials,
} from './data-directory.ts';
import { type Account, minimalEnvironment } from './run-as.ts';
import { clusterStart } from './server-account.ts';

export interface Initialization {
  directory: DataDirectory;
  initdb: string;
  account: Account | undefined;
  random: Random;
}

const unfinished = 'server.new-';

/** Retries while another broker still writes there or removes it too: brokers that start together all clean up. */
const removal = { recursive: true, force: true, maxRetries: 10, retryDelay: 50 } as const;

/**
 * Creates the server if the directory has no server: passwords and a cluster (UTF-8; C order with Unicode case rules; only
 * SCRAM over the loopback interface; checksums; synced). It is created under another name and renamed, so a crash
 * leaves only files to remove, and of two brokers that start together the second uses the server of the first.
 */
export async function initializeServer(request: Initialization): Promise<void> {
  const { directory } = request;
  if (serverExists(directory)) return;
  const made = await mkdtemp(join(directory.root, unfinished));
  try {
    const paths = serverPaths(made);
    const credentials = generateCredentials(request.random);
    await makeCluster(request, { cluster: paths.cluster, credentials });
    await writeCredentials(paths.credentials, credentials);
    await publishServer(directory, made);
  } catch (error) {
    // Another broker may have published its server and removed this attempt: its server is used then.
    if (!serverExists(directory)) throw error;
  } finally {
    await rm(made, removal);
  }
}

/** Removes the remains of crashed first starts. Call it only while holding the lock of the directory. */
export async function removeUnfinished(directory: DataDirectory): Promise<void> {
  for (const name of await readdir(directory.root)) {
    if (name.startsWith(unfinished)) await rm(join(directory.root, name), removal);
  }
}

async function makeCluster(
  { initdb, account }: Initialization,
  { cluster, credentials }: { cluster: string; credentials: Credentials },
): Promise<void> {
  await mkdir(cluster, { mode: 0o700 });
  if (account !== undefined) await chown(cluster, account.uid, account.gid);
  const passwordFile = await namelessFile(`${cluster}.password`, { content: credentials.superuser, account });
  try {
    const start = clusterStart(cluster, account);
    const { code, output } = await run(initdb, {
      ...start,
      stdin: passwordFile.fd,
      args: initdbArguments(start.pgdata),
    });
    if (code === 0) return;
    throw new BrokerError('unavailable', { detail: `initdb failed: ${output.trim().slice(-2000)}` });
  } finally {
    await passwordFile.close();
  }
}

function initdbArguments(pgdata: string): string[] {
  return [
    `--pgdata=${pgdata}`,
    '--username=postgres',
    '--pwfile=/dev/stdin',
    '--auth-host=scram-sha-256',
    '--auth-local=reject',
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--data-checksums',
  ];
}

/** Opens a file without a name: the account can read it by its descriptor, and no process can open it by a path. */
async function namelessFile(
  path: string,
  { content, account }: { content: string; account: Account | undefined },
): Promise<FileHandle> {
  const writer = await open(path, 'wx', 0o600);
  try {
    await writer.writeFile(content);
    if (account !== undefined) await writer.chown(account.uid, account.gid);
    return await open(path, 'r');
  } finally {
    await writer.close();
    await unlink(path);
  }
}

interface Run {
  account: Account | undefined;
  args: string[];
  cwd: string;
  stdin: number;
}

function run(
  program: string,
  { account, args, cwd, stdin }: Run,
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      ...account,
      cwd,
      env: minimalEnvironment,
      stdio: [stdin, 'pipe', 'pipe'],
    });
    let output = '';
    const collect = (chunk: Buffer): void => {
      output += chunk.toString('utf8');
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}
