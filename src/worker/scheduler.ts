import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Job, RunOutcome, RunReport } from './job.ts';
import { runExclusive } from './run-exclusive.ts';
import { registerJobs } from './store.ts';
import { startTicks, type Ticks } from './ticks.ts';

export interface SchedulerDeps {
  jobs: readonly Job[];
  db: Db;
  clock: Clock;
  log: Log;
  /** The id of this replica. */
  holder: string;
  observe: (report: RunReport) => void;
  leaseSeconds?: number;
}

export interface Scheduler {
  /** Creates the rows of the jobs. `start` also does this. */
  register(): Promise<void>;
  /** Attempts every slot from now on. Missed slots are not repeated. */
  start(): Promise<void>;
  /** Attempts the slot, as a tick does. Resolves when the run has ended. Throws only for an unknown job. */
  runNow(name: string, slot: Date): Promise<RunOutcome>;
  /** Starts no further runs, aborts the current ones, and waits until they have ended and released their leases. */
  stop(): Promise<void>;
}

/** How long the job of a replica that died is blocked. */
const defaultLeaseSeconds = 30;

/** Creates a scheduler. Every replica may have one: the database decides which replica runs a slot. */
export function createScheduler(deps: SchedulerDeps): Scheduler {
  const { jobs, db, clock, log, holder, observe } = deps;
  const leaseSeconds = deps.leaseSeconds ?? defaultLeaseSeconds;
  const byName = new Map(jobs.map((job) => [job.name, job]));
  const stopping = new AbortController();
  const running = new Set<Promise<RunOutcome>>();
  const unrecorded = new Map<string, number>();
  let ticks: Ticks[] = [];

  async function run(job: Job, slot: Date): Promise<RunOutcome> {
    if (stopping.signal.aborted) return 'stopped';
    const outcome = runExclusive({
      ...{ db, clock, holder, leaseSeconds, job, slot, log, observe, unrecorded },
      signal: stopping.signal,
    });
    running.add(outcome);
    try {
      return await outcome;
    } finally {
      running.delete(outcome);
    }
  }

  const register = (): Promise<void> => registerJobs(db, [...byName.keys()]);
  const onError = (error: unknown): void =>
    log.error('a scheduled job could not be attempted', { err: error });
  return {
    register,
    async start() {
      await register();
      if (stopping.signal.aborted) return;
      ticks = jobs.map((job) =>
        startTicks({ schedule: job.schedule, clock, onTick: (slot) => void run(job, slot).catch(onError) }),
      );
    },
    async runNow(name, slot) {
      const job = byName.get(name);
      if (job === undefined) throw new Error(`unknown job ${name}`);
      return run(job, slot);
    },
    async stop() {
      stopping.abort();
      for (const tick of ticks) tick.stop();
      ticks = [];
      await Promise.allSettled(running);
    },
  };
}
