import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findPostmaster, isRunning, parsePostmasterFile } from '../../../src/embedded/postmaster.ts';

const lockFile = (pid: number, status = 'ready   '): string =>
  `${pid}\n/data\n1795489416\n5999\n\n127.0.0.1\n 16039945         9\n${status}\n`;

describe('the lock file', () => {
  test('is read as Postgres writes it', () => {
    expect(parsePostmasterFile(lockFile(4711))).toEqual({ pid: 4711, port: 5999, status: 'ready' });
  });

  test.each([
    '',
    '4711\n',
    '4711\n/data\n1795489416\n',
    '-4711\n/data\n1\n5999\n',
    'x\n/data\n1\n5999\n',
    '1\n/d\n1\n\n',
  ])('is ignored when it is incomplete or damaged: %j', (text) => {
    expect(parsePostmasterFile(text)).toBeUndefined();
  });

  test('never names a process group or a broadcast, with any contents', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const file = parsePostmasterFile(text);
        return file === undefined || file.pid > 0;
      }),
    );
  });
});

describe.runIf(process.platform === 'linux')('a lock file after a crash', () => {
  let cluster: string;
  let stranger: ChildProcess;
  let ended: Promise<unknown>;

  const write = (text: string): string => {
    const path = join(cluster, 'postmaster.pid');
    writeFileSync(path, text);
    return path;
  };

  beforeEach(() => {
    cluster = mkdtempSync(join(tmpdir(), 'hallpass-postmaster-'));
  });
  afterEach(async () => {
    stranger.kill('SIGKILL');
    await ended;
    rmSync(cluster, { recursive: true, force: true });
  });

  const start = (cwd: string): number => {
    stranger = spawn('sleep', ['60'], { cwd });
    ended = once(stranger, 'exit');
    return stranger.pid ?? 0;
  };

  test('that names another running process is removed, so that Postgres does not refuse to start', async () => {
    const path = write(lockFile(start('/')));
    expect(await findPostmaster(cluster)).toEqual({ state: 'absent' });
    expect(existsSync(path)).toBe(false);
  });

  test('that names a dead process is left to Postgres, which checks for orphaned processes', async () => {
    const pid = start('/');
    stranger.kill('SIGKILL');
    await ended;
    expect(isRunning(pid)).toBe(false);
    const path = write(lockFile(pid));
    expect(await findPostmaster(cluster)).toEqual({ state: 'absent' });
    expect(existsSync(path)).toBe(true);
  });

  test('is trusted if the process works in the cluster: ready, or busy while it starts and stops', async () => {
    const pid = start(cluster);
    write(lockFile(pid));
    expect(await findPostmaster(cluster)).toEqual({ state: 'ready', pid, port: 5999 });
    write(lockFile(pid, 'stopping'));
    expect(await findPostmaster(cluster)).toEqual({ state: 'busy', pid, port: 5999 });
  });
});
