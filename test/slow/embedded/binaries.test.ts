import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { chmod, chown, cp, lstat, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  defaultCopyRoots,
  locateNativePackage,
  makeMissingLinks,
  prepareBinaries,
} from '../../../src/embedded/binaries.ts';
import { chooseAccount } from '../../../src/embedded/run-as.ts';

const asRoot = process.geteuid?.() === 0;

interface Link {
  source: string;
  target: string;
}

describe('the programs of the platform package', () => {
  let home: string;
  let native: string;
  let links: Link[];

  beforeEach(async () => {
    home = mkdtempSync(join(tmpdir(), 'hallpass-binaries-'));
    native = join(home, 'node_modules', 'native');
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  /** Copies the real package as it is unpacked without its install script. */
  const unpack = async (): Promise<void> => {
    const found = await locateNativePackage();
    await cp(found.native, native, { recursive: true, filter: (source) => !source.endsWith('.a') });
    links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8')) as Link[];
    for (const { target } of links) await rm(join(native, relative('native', target)), { force: true });
  };

  /** Creates a program that only prints a version, for tests that do not depend on Postgres. */
  const pretend = async (directory: string): Promise<void> => {
    await mkdir(join(directory, 'bin'), { recursive: true });
    const program = join(directory, 'bin', 'postgres');
    await writeFile(program, '#!/bin/sh\necho "postgres (PostgreSQL) 66.6"\n');
    await chmod(program, 0o755);
  };

  test('work without the install script: the missing links are created, repeatedly', async () => {
    await unpack();
    expect(links.length).toBeGreaterThan(0);
    const broken = join(native, relative('native', links[0]?.target ?? ''));
    await symlink('nowhere', broken);
    await makeMissingLinks(native);
    await makeMissingLinks(native);
    for (const { source, target } of links) {
      const link = join(native, relative('native', target));
      expect(statSync(link).ino).toBe(statSync(join(native, relative('native', source))).ino);
      expect(readlinkSync(link)).not.toContain('/');
    }
    const request = { account: undefined, copyRoots: [], package: { native, key: 'v1' } };
    expect((await prepareBinaries(request)).major).toMatch(/^\d+$/);
  });

  test.runIf(asRoot)('are used in place if the account can reach them', async () => {
    await pretend(native);
    await chmod(home, 0o755);
    const account = chooseAccount();
    const binaries = await prepareBinaries({ account, copyRoots: [], package: { native, key: 'k' } });
    expect(binaries.postgres).toBe(join(native, 'bin/postgres'));
    expect(binaries.major).toBe('66');
  });

  test.runIf(asRoot)(
    'are copied where the account does not reach them (a 0700 home), readable by all and writable by none',
    async () => {
      await unpack();
      const account = chooseAccount();
      // Like an installation with umask 077.
      for (const name of await readdir(native, { recursive: true })) {
        const entry = await lstat(join(native, name));
        if (!entry.isSymbolicLink()) await chmod(join(native, name), entry.mode & 0o700);
      }
      const roots = mkdtempSync('/tmp/hallpass-copies-');
      await chmod(roots, 0o755);
      try {
        const planted = join(roots, 'planted');
        await mkdir(planted);
        await chown(planted, 1000, 1000);
        const open = join(roots, 'open');
        await mkdir(open);
        await chmod(open, 0o777);
        const good = join(roots, 'good');
        const request = { account, copyRoots: [planted, open, good], package: { native, key: 'v1' } };
        const old = process.umask(0o077);
        const binaries = await prepareBinaries(request).finally(() => process.umask(old));
        expect(binaries.postgres).toBe(join(good, 'postgres-v1/bin/postgres'));
        expect(statSync(join(good, 'postgres-v1/share/postgresql/postgres.bki')).mode & 0o777).toBe(0o644);
        expect(statSync(join(good, 'postgres-v1/share/postgresql')).mode & 0o777).toBe(0o755);
        expect(await readdir(good)).toEqual(['postgres-v1']);
        expect(await prepareBinaries(request)).toEqual(binaries);
        expect(await readdir(planted)).toEqual([]);
        expect(await readdir(open)).toEqual([]);
      } finally {
        rmSync(roots, { recursive: true, force: true });
      }
    },
  );

  test.runIf(asRoot)('a copy that another user could have created is not run', async () => {
    const root = join(home, 'copies');
    await pretend(join(root, 'postgres-v1'));
    await chown(join(root, 'postgres-v1'), 1000, 1000);
    const request = { account: chooseAccount(), copyRoots: [root], package: { native, key: 'v1' } };
    await expect(prepareBinaries(request)).rejects.toMatchObject({
      code: 'unavailable',
      detail: expect.stringContaining('is not a directory that only we can write'),
    });
  });

  test('the error of programs that cannot run says so and suggests DATABASE_URL', async () => {
    const request = { account: undefined, copyRoots: [], package: { native: join(home, 'none'), key: 'v1' } };
    await expect(prepareBinaries(request)).rejects.toMatchObject({
      code: 'unavailable',
      detail: expect.stringMatching(/set DATABASE_URL.*ENOENT/),
    });
  });

  test('copies are created where an account other than root can reach them, or in the data directory', () => {
    const roots = defaultCopyRoots('/root/.hallpass');
    if (asRoot) for (const root of roots) expect(root).not.toContain('/root');
    else expect(roots).toEqual(['/root/.hallpass/binaries']);
  });
});
