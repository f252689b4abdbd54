import { spawn } from 'node:child_process';
import { chown, type FileHandle, mkdir, mkdtemp, open, readdir, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { BrokerError } from '../../errors.ts';
import type { Random } from '../../platform/random.ts';
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

/** Tried again where somebody still writes there, or removes it too: brokers that start together tidy up together. */
const removal = { recursive: true, force: true, maxRetries: 10, retryDelay: 50 } as const;

/**
 * Makes the server if there is none: passwords and a cluster (UTF-8; C order with Unicode case rules; SCRAM for the
 * loopback, nothing else; checksums; on the disk). It is made beside its place and renamed into it, so a crash leaves
 * only litter, and of two brokers that start together one is first and the other uses what that one made.
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
    // The first of two brokers tidies up the other's attempt; what the first made is good.
    if (!serverExists(directory)) throw error;
  } finally {
    await rm(made, removal);
  }
}

/** Removes what crashed first starts left. To be called by the one broker that holds the directory. */
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

/** A file that the account can open through its descriptor and nobody can by a name: it has none any more. */
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
