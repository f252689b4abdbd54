import { continueAuditOrder } from '../audit/log.ts';
import type { Db, Tx } from '../db/database.ts';
import { dropPartitions, ensurePartitionsAhead } from '../db/partitions.ts';
import { withTransaction } from '../db/transaction.ts';
import { addSeconds } from '../platform/clock.ts';
import type { Fence, Job, JobContext } from './job.ts';
import { type JobName, schedules } from './schedules.ts';
import { deleteIdempotencyRecords, deleteJobRuns } from './store.ts';

/**
 * The functions that the jobs call. Each returns how many rows it changed, and calls the fence first in every
 * transaction.
 */
export interface JobsDeps {
  db: Db;
  grants: {
    expireDue(fence: Fence, signal: AbortSignal): Promise<number>;
    lapseDue(fence: Fence, signal: AbortSignal): Promise<number>;
  };
  feeds: { catchUp(fence: Fence, signal: AbortSignal): Promise<number> };
  keys: { rotateDue(fence: Fence): Promise<number> };
  targets: {
    testDue(fence: Fence, signal: AbortSignal): Promise<number>;
    reconcile(fence: Fence, signal: AbortSignal): Promise<number>;
    cleanUp(fence: Fence, signal: AbortSignal): Promise<number>;
    rotatePasswords(fence: Fence, signal: AbortSignal): Promise<number>;
  };
}

const batchRows = 1000;
const keepIdempotencySeconds = 24 * 3600;
const keepRunsSeconds = 7 * 24 * 3600;

/** Creates the jobs. A schedule without a job does not compile. */
export function createJobs({ db, grants, feeds, keys, targets }: JobsDeps): Job[] {
  const runs: Record<JobName, Job['run']> = {
    'expire-grants': ({ fence, signal }) => grants.expireDue(fence, signal),
    'lapse-requests': ({ fence, signal }) => grants.lapseDue(fence, signal),
    'read-feeds': ({ fence, signal }) => feeds.catchUp(fence, signal),
    'rotate-keys': ({ fence }) => keys.rotateDue(fence),
    'test-targets': ({ fence, signal }) => targets.testDue(fence, signal),
    'reconcile-targets': ({ fence, signal }) => targets.reconcile(fence, signal),
    'clean-up-targets': ({ fence, signal }) => targets.cleanUp(fence, signal),
    'rotate-target-passwords': ({ fence, signal }) => targets.rotatePasswords(fence, signal),
    'make-partitions': (context) => inTransaction(db, context, (tx) => prepareDatabase(tx, context.now())),
    'drop-partitions': (context) => inTransaction(db, context, (tx) => dropPartitions(tx, context.now())),
    'drop-idempotency-records': (context) => dropRecords(db, context),
  };
  return (Object.keys(runs) as JobName[]).map((name) => ({
    name,
    schedule: schedules[name],
    run: runs[name],
  }));
}

/**
 * Prepares the database for new audit events and tokens. The start also does this; the job is for a broker that keeps running while
 * its database is moved to another cluster.
 */
async function prepareDatabase(tx: Tx, now: Date): Promise<number> {
  await continueAuditOrder(tx);
  return ensurePartitionsAhead(tx, now);
}

/** Runs `work` in one transaction of the job. */
function inTransaction(db: Db, { fence }: JobContext, work: (tx: Tx) => Promise<number>): Promise<number> {
  return withTransaction(db, async (tx) => {
    await fence(tx);
    return work(tx);
  });
}

async function dropRecords(db: Db, context: JobContext): Promise<number> {
  const until = (keepSeconds: number): Date => addSeconds(context.now(), -keepSeconds);
  const records = await inBatches(db, context, (tx) =>
    deleteIdempotencyRecords(tx, { until: until(keepIdempotencySeconds), limit: batchRows }),
  );
  const runs = await inBatches(db, context, (tx) =>
    deleteJobRuns(tx, { until: until(keepRunsSeconds), keepSeconds: keepRunsSeconds, limit: batchRows }),
  );
  return records + runs;
}

/** Repeats `batch`, each time in its own transaction, until it changes nothing or the run is aborted. */
async function inBatches(db: Db, context: JobContext, batch: (tx: Tx) => Promise<number>): Promise<number> {
  let total = 0;
  while (!context.signal.aborted) {
    const changed = await inTransaction(db, context, batch);
    if (changed === 0) break;
    total += changed;
  }
  return total;
}
