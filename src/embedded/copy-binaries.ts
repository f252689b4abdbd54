import { constants } from 'node:fs';
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';

export interface CopyRequest {
  native: string;
  /** A directory for copies; created if missing. Only this user may be able to write it. */
  root: string;
  /** The copy's name in `root`: one for each version and platform. */
  name: string;
  /** Finishes a copy before it appears under its name. */
  finish: (copy: string) => Promise<void>;
}

/** Files that are only needed to compile against Postgres, and are not copied. */
const needless = /\.a$|^pkgconfig$|^include$/;

/**
 * Copies the programs to `root/name`, readable by every account, and returns that path. One rename publishes
 * the copy, so it is complete or absent; an existing copy is used. Throws if another user could have created
 * or could change `root` or the copy: the server would then run that user's programs with our data.
 */
export async function copyBinaries(request: CopyRequest): Promise<string> {
  const copy = join(request.root, request.name);
  await makeTrustedDirectory(request.root);
  if (await isTrusted(copy)) return copy;
  const partial = await mkdtemp(join(request.root, '.partial-'));
  try {
    await copyTree(request.native, partial);
    await request.finish(partial);
    await rename(partial, copy);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    // Another broker may have published its copy meanwhile, which is used then.
    if (!(await isTrusted(copy))) throw error;
  }
  return copy;
}

async function makeTrustedDirectory(path: string): Promise<void> {
  const { mode } = await stat(dirname(path));
  // In a sticky directory other users cannot rename or remove our files.
  if ((mode & 0o002) !== 0 && (mode & 0o1000) === 0)
    throw new Error(`${dirname(path)} is writable by every user`);
  const made = await mkdir(path).then(
    () => true,
    (error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
      throw error;
    },
  );
  // Regardless of the umask, because other accounts must be able to enter.
  if (made) await chmod(path, 0o755);
  await isTrusted(path);
}

/** Returns whether the directory exists. Throws if another user owns it or can write it. */
async function isTrusted(path: string): Promise<boolean> {
  const entry = await lstat(path).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (entry === undefined) return false;
  if (!entry.isDirectory() || entry.uid !== process.geteuid?.() || (entry.mode & 0o022) !== 0) {
    throw new Error(`${path} is not a directory that only we can write`);
  }
  return true;
}

async function copyTree(from: string, to: string): Promise<void> {
  await chmod(to, 0o755);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (needless.test(entry.name)) continue;
    const source = join(from, entry.name);
    const target = join(to, entry.name);
    if (entry.isSymbolicLink()) {
      await symlink(await readlink(source), target);
    } else if (entry.isDirectory()) {
      await mkdir(target);
      await copyTree(source, target);
    } else {
      await copyFile(source, target, constants.COPYFILE_FICLONE);
      await chmod(target, ((await lstat(source)).mode & 0o100) === 0 ? 0o644 : 0o755);
    }
  }
}
