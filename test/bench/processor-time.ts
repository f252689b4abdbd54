import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const ticksPerSecond = 100;

/** The positions of the times among the fields after the name of the command (proc(5), /proc/pid/stat). */
const own = [11, 12];
const ofEndedChildren = [13, 14];

function readSeconds(pid: number, places: readonly number[]): number {
  // The name of the command, in parentheses, may contain anything.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  return places.reduce((sum, place) => sum + Number(fields[place]), 0) / ticksPerSecond;
}

export function childrenOf(pid: number): number[] {
  const pids = execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' });
  return pids.trim().split('\n').map(Number);
}

/** Returns the processor time of a process so far, in seconds. */
export const processorSeconds = (pid: number): number => readSeconds(pid, own);

/** Returns the processor time of a process and its children, including those that have ended, in seconds. */
export function processorSecondsOfFamily(pid: number): number {
  const total = readSeconds(pid, [...own, ...ofEndedChildren]);
  return childrenOf(pid).reduce((sum, child) => {
    try {
      return sum + processorSeconds(child);
    } catch {
      // The process has ended meanwhile; its time is then counted with its parent.
      return sum;
    }
  }, total);
}
