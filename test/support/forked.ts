import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { atEnd } from './at-end.ts';

export interface Forked {
  child: ChildProcess;
  /** Resolves when the process has ended. */
  exited: Promise<unknown>;
  /** Sends kill -9. Resolves when the process has ended. */
  kill(): Promise<void>;
}

/** Starts a TypeScript file as a process with a channel for messages. It is killed when the test file ends. */
export function forkScript(
  script: string,
  { args = [], env = {} }: { args?: string[]; env?: Record<string, string> } = {},
): Forked {
  const child = fork(script, args, {
    execArgv: ['--import', import.meta.resolve('tsx')],
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  atEnd(kill);
  return { child, exited, kill };
}
