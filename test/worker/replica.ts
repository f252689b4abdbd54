import type { Clock } from '../../src/platform/clock.ts';
import { createLog } from '../../src/platform/log.ts';
import type { Job, RunReport } from '../../src/worker/job.ts';
import { createScheduler, type Scheduler } from '../../src/worker/scheduler.ts';
import type { TestDatabase } from '../support/test-database.ts';

export interface Replica extends Scheduler {
  /** The reports of every attempt. */
  reports: RunReport[];
}

/** Creates a scheduler over a shared database that has the rows of its jobs. */
export async function startReplica(
  database: TestDatabase,
  options: { holder: string; clock: Clock; jobs: Job[] },
): Promise<Replica> {
  const reports: RunReport[] = [];
  const scheduler = createScheduler({
    ...options,
    db: database.db,
    log: createLog('silent'),
    observe: (report) => reports.push(report),
  });
  await scheduler.register();
  return { ...scheduler, reports };
}

/** Creates a promise that the test resolves. */
export function gate(): { opened: Promise<void>; open(): void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

export interface JobState {
  fencing: number;
  holder: string | null;
  lease_expires_at: Date | null;
  last_slot: Date | null;
  last_finished_at: Date | null;
  last_duration_ms: number | null;
  last_rows: number | null;
  last_error: string | null;
  consecutive_failures: number;
}

export async function readJob(database: TestDatabase, name: string): Promise<JobState> {
  const row = await database.db
    .selectFrom('jobs')
    .select(['fencing', 'holder', 'lease_expires_at', 'last_slot', 'last_finished_at', 'last_duration_ms'])
    .select(['last_rows', 'last_error', 'consecutive_failures'])
    .where('name', '=', name)
    .executeTakeFirstOrThrow();
  return row;
}

export function readRuns(database: TestDatabase, name: string) {
  return database.db
    .selectFrom('job_runs')
    .select(['slot', 'fencing', 'finished_at', 'rows', 'error'])
    .where('job', '=', name)
    .orderBy('fencing')
    .execute();
}
