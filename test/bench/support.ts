import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { ensureBuilt } from '../e2e/support/build.ts';
import { otherCore } from './postgres.ts';
import { processorSeconds } from './processor-time.ts';

/** The core of the server under test. */
const serverCore = '0';
const here = import.meta.dirname;
/** The directory in which each server leaves a CPU profile when it ends, if requested. */
const { BENCH_PROFILE_DIR: profileDir } = process.env;
const nodeOptions = profileDir === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profileDir];

/** The request to send to a server: one form again and again, or several in turn. */
export interface Target {
  url: string;
  authorization: string;
  form: string;
  forms?: string[];
}

export interface Server {
  target: Target;
  pid: number;
  /** Further values that the server reported with the target. */
  about: Record<string, string>;
  /** Whether the process is running. */
  isRunning(): boolean;
  /** Returns the resident memory in bytes: current and peak. */
  memory(): { now: number; peak: number };
  /** Returns the processor time used so far, in seconds. */
  cpuSeconds(): number;
  /** Sends an order to a server that accepts orders, as a line of JSON. Returns its response. */
  order<T>(order: object): Promise<T>;
  stop(): Promise<void>;
}

/** The result of wrk; latencies in microseconds. `bad`: wrong responses; of these `shed`: 503 with Retry-After. */
export interface Run {
  requests: number;
  us: number;
  bad: number;
  shed?: number;
  errors: number;
  p50: number;
  p99: number;
}

type Lines = AsyncIterator<string>;

async function nextLine(lines: Lines): Promise<Record<string, string>> {
  const line = await lines.next();
  if (line.done === true) throw new Error('a server ended before it answered');
  return JSON.parse(line.value) as Record<string, string>;
}

function memoryOf(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const read = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
  return { now: read('VmRSS'), peak: read('VmHWM') };
}

/** Starts a server of `servers/` and waits for its first line. */
export async function startServer(name: string, options: object = {}, core = serverCore): Promise<Server> {
  await ensureBuilt();
  const script = join(here, 'servers', `${name}.child.ts`);
  const child: ChildProcess = spawn(
    'taskset',
    ['-c', core, process.execPath, ...nodeOptions, '--import', 'tsx', script, JSON.stringify(options)],
    { stdio: ['pipe', 'pipe', 'ignore'], env: { ...process.env, NODE_ENV: 'production' } },
  );
  const { stdin, stdout, pid } = child;
  if (stdin === null || stdout === null || pid === undefined) throw new Error('no server to talk to');
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  const { url = '', authorization = '', form = '', ...about } = await nextLine(lines);
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  return {
    target: { url, authorization, form },
    pid,
    about,
    isRunning,
    memory: () => memoryOf(pid),
    cpuSeconds: () => processorSeconds(pid),
    order<T>(order: object) {
      stdin.write(`${JSON.stringify(order)}\n`);
      return nextLine(lines) as Promise<T>;
    },
    async stop() {
      if (!isRunning()) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

export interface Load {
  script: string;
  seconds: number;
  connections: number;
}

/** Returns the command line of wrk for a load, and the files to remove afterwards. */
function toWrk({ url, authorization, form, forms }: Target, { script, seconds, connections }: Load) {
  const directory = forms === undefined ? undefined : mkdtempSync(join(tmpdir(), 'hallpass-forms-'));
  const file = directory === undefined ? undefined : join(directory, 'forms');
  if (file !== undefined) writeFileSync(file, (forms ?? []).join('\n'));
  const options = [
    '-t',
    '1',
    '--timeout',
    '30s',
    '-c',
    String(connections),
    '-d',
    `${seconds}s`,
    '-s',
    join(here, script),
  ];
  const command = ['-c', otherCore, 'wrk', ...options, url, '--', authorization, file ?? form];
  return { command, clean: () => directory !== undefined && rmSync(directory, { recursive: true }) };
}

function readRun(output: string): Run {
  const line = /^JSON (.*)$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`wrk said: ${output}`);
  return JSON.parse(line) as Run;
}

/** Loads a server with wrk for some seconds over loopback, with a script of this folder. */
export function load(target: Target, how: Load): Run {
  const { command, clean } = toWrk(target, how);
  try {
    return readRun(execFileSync('taskset', command, { encoding: 'utf8' }));
  } finally {
    clean();
  }
}

/** Does the same as `load` without blocking this process. */
export async function loadMeanwhile(target: Target, how: Load): Promise<Run> {
  const { command, clean } = toWrk(target, how);
  try {
    return readRun((await promisify(execFile)('taskset', command)).stdout);
  } finally {
    clean();
  }
}

export const perSecond = ({ requests, us }: Pick<Run, 'requests' | 'us'>): number => (requests * 1e6) / us;

/** Sends a form with the credentials of the target's client. */
export function postForm({ url, authorization }: Target, form: string): Promise<Response> {
  const headers = { Authorization: authorization, 'Content-Type': 'application/x-www-form-urlencoded' };
  return fetch(url, { method: 'POST', headers, body: form });
}

const mintedAtATime = 16;

/** Gets `count` different tokens from a token endpoint. */
export async function fetchTokens(target: Target, count: number): Promise<string[]> {
  const tokens: string[] = [];
  let left = count;
  const bring = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const response = await postForm(target, target.form);
      const body = (await response.json()) as { access_token?: string };
      if (body.access_token === undefined) throw new Error(`no token: ${JSON.stringify(body)}`);
      tokens.push(body.access_token);
    }
  };
  await Promise.all(Array.from({ length: mintedAtATime }, bring));
  return tokens;
}
