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
  /** Names this replica. */
  holder: string;
  observe: (report: RunReport) => void;
  leaseSeconds?: number;
}

export interface Scheduler {
  /** Makes the jobs' rows. `start` does it too. */
  register(): Promise<void>;
  /** From now on every slot is tried; a slot that is missed is not made up for. */
  start(): Promise<void>;
  /** Tries the slot: what a tick does. Resolves when the run has ended. Throws only if there is no such job. */
  runNow(name: string, slot: Date): Promise<RunOutcome>;
  /** No new runs; tells those under way to end, waits for them and so gives their leases back. */
  stop(): Promise<void>;
}

/** A runner that dies holds up its job this long. */
const defaultLeaseSeconds = 30;

/** Every replica may have one: the database decides which of them runs a slot. */
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
  const onError = (error: unknown): void => log.error('a tick failed', { err: error });
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
      if (job === undefined) throw new Error(`there is no job ${name}`);
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
