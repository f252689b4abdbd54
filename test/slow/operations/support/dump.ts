import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { minimalEnvironment } from '../../../../src/embedded/run-as.ts';
import { query } from './databases.ts';

const majorOf = (text: string): number => Number(/(\d+)(\.|\s|$)/.exec(text)?.[1] ?? 0);

/**
 * Returns why PostgreSQL's own client programs cannot be used on the server of `url`; undefined if they can. pg_dump
 * refuses a server that is newer than itself.
 */
export async function whyNoDump(url: string): Promise<string | undefined> {
  for (const program of ['pg_dump', 'pg_restore']) {
    const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
    if (status !== 0) return `there is no ${program} on this machine`;
    const [row] = await query<{ server_version: string }>(url, 'show server_version');
    const [client, server] = [majorOf(stdout), majorOf(row?.server_version ?? '')];
    if (client < server) return `${program} is of version ${client}, the server of ${server}`;
  }
  return undefined;
}

/** Runs a program to its end. Throws with its output unless it exits with 0. */
export async function runProgram(program: string, args: string[]): Promise<void> {
  const child = spawn(program, args, { env: minimalEnvironment, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    said += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${said}`);
}
