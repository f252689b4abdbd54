import type { Tx } from '../db/database.ts';

/** Runs first in each transaction of a job. Throws `LeaseLost` if the run no longer holds the job's lease. */
export type Fence = (tx: Tx) => Promise<void>;

/** The input of one run of a job. */
export interface JobContext {
  /** The scheduled time of this run, in whole seconds. */
  slot: Date;
  now(): Date;
  fence: Fence;
  /** Aborted when the broker stops or the lease is lost. The job then ends before its next transaction. */
  signal: AbortSignal;
}

/**
 * A scheduled job of the background worker. Idempotent: one run processes everything that is due, however many slots
 * were missed.
 */
export interface Job {
  name: string;
  /** A cron expression with seconds, in UTC. */
  schedule: string;
  /** Returns how many rows it changed. */
  run(context: JobContext): Promise<number>;
}

/**
 * Error thrown when another run has taken over the job, or the lease has expired. The run must not write anything
 * more.
 */
export class LeaseLost extends Error {
  constructor(job: string) {
    super(`the run no longer holds the lease of the job ${job}`);
    this.name = 'LeaseLost';
  }
}

/**
 * The outcome of an attempt to run a slot:
 * - `done`, `failed`: the run has ended, and its outcome is recorded.
 * - `lost`: another run has taken over the job, so the outcome is not recorded.
 * - `busy`: another run held the lease.
 * - `repeated`: the slot had already run.
 * - `unavailable`: the database was unavailable.
 * - `stopped`: this replica is stopping.
 */
export type RunOutcome = 'done' | 'failed' | 'lost' | 'busy' | 'repeated' | 'unavailable' | 'stopped';

/** The metrics of an attempt. */
export interface RunReport {
  job: string;
  outcome: RunOutcome;
  durationMs: number;
  rows: number;
}

/**
 * Whether a lease that expires at `expiresAt` may be taken at `now`: nobody holds it, it has expired, or it expires
 * later than any correct clock could have set it. Without the last rule, a replica that died with its clock a year
 * ahead would block the job for a year. Taking over from a replica that still runs is safe, because of the fencing
 * number.
 */
export function isLeaseFree(
  expiresAt: Date | null,
  { now, leaseSeconds }: { now: Date; leaseSeconds: number },
): boolean {
  if (expiresAt === null || expiresAt <= now) return true;
  return expiresAt.getTime() - now.getTime() > 2 * leaseSeconds * 1000;
}
