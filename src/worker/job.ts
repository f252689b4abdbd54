import type { Tx } from '../db/database.ts';

/** Run first in every transaction of a job: throws `LeaseLost` unless the run still holds the job. */
export type Fence = (tx: Tx) => Promise<void>;

/** What a job is told and given for one run. */
export interface JobContext {
  /** The scheduled instant that this run is for, whole seconds. */
  slot: Date;
  now(): Date;
  fence: Fence;
  /** Aborted when the broker stops or the lease is lost: end at the next boundary between transactions. */
  signal: AbortSignal;
}

/** One thing the worker does on a schedule. Idempotent: it works off whatever is due, however many slots were missed. */
export interface Job {
  name: string;
  /** Cron expression with seconds, UTC. */
  schedule: string;
  /** Answers how many rows it changed. */
  run(context: JobContext): Promise<number>;
}

/** Another run has the job by now, or the lease ran out: whatever this run still wanted to write must not happen. */
export class LeaseLost extends Error {
  constructor(job: string) {
    super(`the run no longer holds the job ${job}`);
    this.name = 'LeaseLost';
  }
}

/**
 * How an attempt to run a slot ended: `done` and `failed` are recorded; `lost` is not, since another run holds the
 * job; `busy` another run held it from the start; `repeated` the slot had run; `unavailable` the database did not
 * work; `stopped` this replica takes no new runs.
 */
export type RunOutcome = 'done' | 'failed' | 'lost' | 'busy' | 'repeated' | 'unavailable' | 'stopped';

/** What is told of every attempt, for metrics. */
export interface RunReport {
  job: string;
  outcome: RunOutcome;
  durationMs: number;
  rows: number;
}

/**
 * Whether a lease that ends at `expiresAt` may be taken at `now`: nobody has it, or it has ended, or it ends later
 * than any clock near ours can have written. Without the last, a runner that died with its clock a year ahead would
 * block the job for a year; taking it from one that lives is safe, because of the fence.
 */
export function isLeaseFree(
  expiresAt: Date | null,
  { now, leaseSeconds }: { now: Date; leaseSeconds: number },
): boolean {
  if (expiresAt === null || expiresAt <= now) return true;
  return expiresAt.getTime() - now.getTime() > 2 * leaseSeconds * 1000;
}
