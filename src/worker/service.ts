import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import { type JobName, schedules } from './schedules.ts';
import { type JobRow, readJobs } from './store.ts';

export interface JobStatus extends Omit<JobRow, 'leaseExpiresAt'> {
  name: JobName;
  /** A cron expression with seconds, in UTC. */
  schedule: string;
  /** Whether a replica holds the job's lease now. */
  running: boolean;
}

export interface WorkerService {
  /** Returns every job in the order of `schedules`, including those that have never run. */
  list(): Promise<JobStatus[]>;
}

const neverRan: JobRow = {
  lastSlot: null,
  lastStartedAt: null,
  lastFinishedAt: null,
  lastDurationMs: null,
  lastRows: null,
  lastError: null,
  consecutiveFailures: 0,
  leaseExpiresAt: null,
};

export function createWorkerService({ db, clock }: { db: Db; clock: Clock }): WorkerService {
  return {
    async list() {
      const names = Object.keys(schedules) as JobName[];
      const rows = await readJobs(db, names);
      const now = clock.now();
      return names.map((name) => {
        const { leaseExpiresAt, ...last } = rows.get(name) ?? neverRan;
        const running = leaseExpiresAt !== null && leaseExpiresAt > now;
        return { name, schedule: schedules[name], ...last, running };
      });
    },
  };
}
