import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** The root of the repository. */
export const root = join(import.meta.dirname, '../../..');

const lockFile = join(
  tmpdir(),
  `hallpass-build-${createHash('sha256').update(root).digest('hex').slice(0, 16)}`,
);
const stepMs = 100;

/**
 * Builds `dist` unless it is newer than every source. Test files run concurrently, so one builds and the others wait.
 */
export async function ensureBuilt(): Promise<void> {
  while (!isFresh()) {
    if (!takeLock()) {
      await sleep(stepMs);
      continue;
    }
    try {
      if (!isFresh()) execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
      return;
    } finally {
      rmSync(lockFile, { force: true });
    }
  }
}

function isFresh(): boolean {
  // The build always writes this file last.
  const built = modifiedMs(join(root, 'dist/openapi.json'));
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
  const newest = Math.max(...sources.map((name) => modifiedMs(join(root, 'src', name))));
  return built > newest && modifiedMs(join(root, 'dist/main.js')) > 0;
}

function modifiedMs(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Returns false if a running process has the lock. */
function takeLock(): boolean {
  try {
    const file = openSync(lockFile, 'wx');
    writeSync(file, String(process.pid));
    closeSync(file);
    return true;
  } catch {
    if (!isHolderRunning()) rmSync(lockFile, { force: true });
    return false;
  }
}

function isHolderRunning(): boolean {
  try {
    const pid = Number(readFileSync(lockFile, 'utf8'));
    return pid === 0 || process.kill(pid, 0);
  } catch {
    return false;
  }
}
