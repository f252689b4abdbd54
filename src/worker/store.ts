import { sql } from 'kysely';
import type { Db, Tx } from '../db/database.ts';
import type { JobName } from './schedules.ts';

/** Creates the missing rows of jobs. */
export async function registerJobs(db: Db, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  await db
    .insertInto('jobs')
    .values(names.map((name) => ({ name })))
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
}

export interface Lease {
  fencing: number;
  holder: string | null;
  expiresAt: Date | null;
}

/** Returns the job's lease, locked; undefined if another transaction holds its lock. */
export async function lockLease(tx: Tx, job: string): Promise<Lease | undefined> {
  const row = await tx
    .selectFrom('jobs')
    .select(['fencing', 'holder', 'lease_expires_at'])
    .where('name', '=', job)
    .forNoKeyUpdate()
    .skipLocked()
    .executeTakeFirst();
  if (row === undefined) return undefined;
  return { fencing: row.fencing, holder: row.holder, expiresAt: row.lease_expires_at };
}

export interface Run {
  job: string;
  slot: Date;
  fencing: number;
}

/** Inserts a run of the slot. Returns false if the slot has already run. */
export async function insertRun(tx: Tx, run: Run & { startedAt: Date }): Promise<boolean> {
  const inserted = await tx
    .insertInto('job_runs')
    .values({ job: run.job, slot: run.slot, fencing: run.fencing, started_at: run.startedAt })
    .onConflict((conflict) => conflict.columns(['job', 'slot']).doNothing())
    .executeTakeFirst();
  return inserted.numInsertedOrUpdatedRows === 1n;
}

export interface TakenLease extends Run {
  holder: string;
  startedAt: Date;
  expiresAt: Date;
}

/** Takes the lease, which this transaction has locked. */
export async function takeLease(tx: Tx, lease: TakenLease): Promise<void> {
  await tx
    .updateTable('jobs')
    .set({
      fencing: lease.fencing,
      holder: lease.holder,
      lease_expires_at: lease.expiresAt,
      last_slot: lease.slot,
      last_started_at: lease.startedAt,
    })
    .where('name', '=', lease.job)
    .execute();
}

/** Records the failure of a run whose replica died. */
export async function recordAbandoned(tx: Tx, job: string, error: string): Promise<void> {
  await tx
    .updateTable('jobs')
    .set({ last_error: error, consecutive_failures: sql<number>`consecutive_failures + 1` })
    .where('name', '=', job)
    .execute();
}

/**
 * Whether the run holds the lease at `now`. If so, the lease is locked until the transaction ends, so that no other
 * run can take it before the commit, even if it expires meanwhile.
 */
export async function holdLease(
  tx: Tx,
  { job, fencing, now }: { job: string; fencing: number; now: Date },
): Promise<boolean> {
  const row = await tx
    .selectFrom('jobs')
    .select('fencing')
    .where('name', '=', job)
    .where('fencing', '=', fencing)
    .where('lease_expires_at', '>', now)
    .forShare()
    .executeTakeFirst();
  return row !== undefined;
}

/** Extends the lease. Returns false if the run has lost it. An expired lease is never extended. */
export async function renewLease(
  db: Db,
  lease: { job: string; fencing: number; now: Date; expiresAt: Date },
): Promise<boolean> {
  const result = await db
    .updateTable('jobs')
    .set({ lease_expires_at: lease.expiresAt })
    .where('name', '=', lease.job)
    .where('fencing', '=', lease.fencing)
    .where('lease_expires_at', '>', lease.now)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

export interface FinishedRun extends Run {
  finishedAt: Date;
  durationMs: number;
  /** How many rows the run changed; null if it failed. */
  rows: number | null;
  error: string | null;
}

/**
 * Records the outcome of the run and releases the lease. Returns false, and changes nothing, if another run has taken
 * over the job.
 */
export async function finishRun(tx: Tx, run: FinishedRun): Promise<boolean> {
  const result = await tx
    .updateTable('jobs')
    .set({
      holder: null,
      lease_expires_at: null,
      last_finished_at: run.finishedAt,
      last_duration_ms: run.durationMs,
      last_rows: run.rows,
      last_error: run.error,
      consecutive_failures: run.error === null ? 0 : sql<number>`consecutive_failures + 1`,
    })
    .where('name', '=', run.job)
    .where('fencing', '=', run.fencing)
    .executeTakeFirst();
  if (result.numUpdatedRows !== 1n) return false;
  await tx
    .updateTable('job_runs')
    .set({ finished_at: run.finishedAt, rows: run.rows, error: run.error })
    .where('job', '=', run.job)
    .where('slot', '=', run.slot)
    .where('fencing', '=', run.fencing)
    .execute();
  return true;
}

export interface JobRow {
  lastSlot: Date | null;
  lastStartedAt: Date | null;
  lastFinishedAt: Date | null;
  lastDurationMs: number | null;
  lastRows: number | null;
  lastError: string | null;
  consecutiveFailures: number;
  leaseExpiresAt: Date | null;
}

/** Returns the state of each job by its name. */
export async function readJobs(db: Db, names: readonly JobName[]): Promise<Map<string, JobRow>> {
  const rows = await db
    .selectFrom('jobs')
    .select(['name', 'last_slot', 'last_started_at', 'last_finished_at', 'last_duration_ms', 'last_rows'])
    .select(['last_error', 'consecutive_failures', 'lease_expires_at'])
    .where('name', 'in', names)
    .execute();
  return new Map(
    rows.map((row) => [
      row.name,
      {
        lastSlot: row.last_slot,
        lastStartedAt: row.last_started_at,
        lastFinishedAt: row.last_finished_at,
        lastDurationMs: row.last_duration_ms,
        lastRows: row.last_rows,
        lastError: row.last_error,
        consecutiveFailures: row.consecutive_failures,
        leaseExpiresAt: row.lease_expires_at,
      },
    ]),
  );
}

/**
 * Deletes up to `limit` idempotency records that were created at or before `until`. Returns how many. The rows are
 * not locked first, because that would need the UPDATE privilege, so the statement waits for a request that replaces
 * one of them.
 */
export async function deleteIdempotencyRecords(tx: Tx, due: { until: Date; limit: number }): Promise<number> {
  const result = await sql`
    with due as (
      select caller, route, key from idempotency_keys
       where created_at <= ${due.until}
       order by created_at limit ${due.limit}
    )
    delete from idempotency_keys k using due
     where k.caller = due.caller and k.route = due.route and k.key = due.key`.execute(tx);
  return Number(result.numAffectedRows ?? 0);
}

/**
 * Deletes up to `limit` runs that started at or before `until`, and at least `keepSeconds` ago by the database's own
 * clock: otherwise, a wrong application clock could delete the record of a slot that is attempted again after the
 * clock is corrected.
 */
export async function deleteJobRuns(
  tx: Tx,
  due: { until: Date; keepSeconds: number; limit: number },
): Promise<number> {
  const result = await sql`
    with due as (
      select job, slot from job_runs
       where started_at <= least(${due.until}::timestamptz, clock_timestamp() - make_interval(secs => ${due.keepSeconds}))
       order by started_at limit ${due.limit}
    )
    delete from job_runs r using due where r.job = due.job and r.slot = due.slot`.execute(tx);
  return Number(result.numAffectedRows ?? 0);
}
