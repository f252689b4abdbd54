import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { atEnd } from '../../support/at-end.ts';
import { eventually } from '../../support/eventually.ts';

/**
 * Whether to skip the tests with software of a Debian package, because it is not installed and HALLPASS_TEST_INTEROP does
 * not require it. Then it says so on standard error.
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
  /** Throws while the server is not ready. */
  check: () => Promise<unknown>;
}

/**
 * Runs another project's server until the test file ends, in a separate process group, because some servers signal
 * their whole group when they end.
 */
export async function startDaemon({ command, args, env = {}, check }: Daemon): Promise<void> {
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
  await eventually(ready);
  if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}: ${output}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}
