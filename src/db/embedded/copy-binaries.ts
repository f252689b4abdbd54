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
  /** A directory for copies; made if missing, and must be ours alone. */
  root: string;
  /** The copy's name in `root`: one for each version and platform. */
  name: string;
  /** What is still to be done to a copy before it appears. */
  finish: (copy: string) => Promise<void>;
}

/** Only needed to compile against Postgres. */
const needless = /\.a$|^pkgconfig$|^include$/;

/**
 * Copies the programs to `root/name`, readable by every account, and returns that path. The copy appears by one
 * rename, so it is complete or absent; one that is there already is used. Throws if `root` or the copy could have been
 * put there, or could be changed, by somebody else: a server would then run whatever they like with our data.
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
    // Another broker may have been faster: its copy is as good.
    if (!(await isTrusted(copy))) throw error;
  }
  return copy;
}

async function makeTrustedDirectory(path: string): Promise<void> {
  const { mode } = await stat(dirname(path));
  // In a sticky directory nobody can rename or remove what is ours.
  if ((mode & 0o002) !== 0 && (mode & 0o1000) === 0)
    throw new Error(`${dirname(path)} can be written by anyone`);
  const made = await mkdir(path).then(
    () => true,
    (error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
      throw error;
    },
  );
  // Whatever the umask says: other accounts must get through.
  if (made) await chmod(path, 0o755);
  await isTrusted(path);
}

/** True: there, and only we can write it. False: not there. Throws: somebody else's. */
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
