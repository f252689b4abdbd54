import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { atEnd } from '../support/at-end.ts';
import { eventually } from '../support/eventually.ts';

/**
 * Whether tests with software of a Debian package are left out: it is not there, and HALLPASS_TEST_INTEROP does not demand
 * it. Says so on standard error.
 */
export function isLeftOut(name: string, isThere: boolean): boolean {
  if (isThere || process.env.HALLPASS_TEST_INTEROP === 'required') return false;
  process.stderr.write(`SKIPPED: ${name} is not installed\n`);
  return true;
}

interface Daemon {
  command: string;
  args: string[];
  env?: Record<string, string>;
  /** Throws as long as it is not ready. */
  check: () => Promise<unknown>;
  /** How long that may take. */
  seconds: number;
}

/**
 * Runs a server of somebody else in a process group of its own, since some signal their whole group when they end, until the
 * test file ends.
 */
export async function startDaemon({ command, args, env = {}, check, seconds }: Daemon): Promise<void> {
  const child = spawn(command, args, { detached: true, env: { PATH: process.env.PATH, ...env } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  atEnd(() => stop(child));
  const ready = async (): Promise<void> => {
    if (child.exitCode !== null) return;
    await check();
  };
  await eventually(ready, { seconds });
  if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}: ${output}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}
