import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Order, Report } from './open-loop.child.ts';
import { otherCore } from './postgres.ts';
import type { ProbeOrder, ProbeReport } from './probe.child.ts';
import type { Target } from './support.ts';

export type { Latencies, Report } from './open-loop.child.ts';
export type { ProbeKind, ProbeReport } from './probe.child.ts';

/** Starts a script of this folder on the core of the load, and sends it its order. */
function onOtherCore(script: string, order: object) {
  const path = join(import.meta.dirname, script);
  const command = ['-c', otherCore, process.execPath, '--import', 'tsx', path];
  const child = spawn('taskset', command, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify(order));
  return child;
}

type Load = Pick<Order, 'perSecond' | 'seconds' | 'connections'> & {
  /** Called when the first request is sent. */
  onBegin?: () => void;
};

/** Loads a server at a constant rate. Resolves when every request has a response or was given up. */
export async function openLoop(
  { url, authorization, form, forms = [form] }: Target,
  { onBegin = () => {}, ...load }: Load,
): Promise<Report> {
  const order: Order = { ...load, expected: '"access_token"', url, authorization, forms };
  const child = onOtherCore('open-loop.child.ts', order);
  child.stdout.once('data', onBegin);
  return JSON.parse(await text(child.stdout)) as Report;
}

/** Sends single requests during another load, which may start when `onBegin` is called. */
export async function probe({
  onBegin,
  ...order
}: ProbeOrder & { onBegin?: () => void }): Promise<ProbeReport[]> {
  const { stdout } = onOtherCore('probe.child.ts', order);
  stdout.once('data', () => onBegin?.());
  return JSON.parse(await text(stdout)) as ProbeReport[];
}
