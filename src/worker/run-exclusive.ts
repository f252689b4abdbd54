import type { Db, Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { addSeconds, type Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import { type Repeat, repeat } from '../platform/repeat.ts';
import { describeFailure } from './failure.ts';
import { isLeaseFree, type Job, LeaseLost, type RunOutcome, type RunReport } from './job.ts';
import * as store from './store.ts';

export interface ExclusiveRun {
  db: Db;
  clock: Clock;
  /** The id of this replica. */
  holder: string;
  /**
   * For each job, the fencing number of a run of this process whose end (or possibly whose lease) could not be
   * written while the database was unavailable. This process may take over the lease of such a run before it expires.
   */
  unrecorded: Map<string, number>;
  /** How long a lease is valid after its last renewal. */
  leaseSeconds: number;
  job: Job;
  /** The slot to run, in whole seconds. */
  slot: Date;
  log: Log;
  observe: (report: RunReport) => void;
  /** Aborted when the broker stops. */
  signal?: AbortSignal;
}

/** A lease that this run holds. */
interface Claim {
  fencing: number;
  startedAt: Date;
}

interface Result {
  rows: number | null;
  error?: unknown;
}

const abandoned = 'the previous run did not finish';
const largestInteger = 2 ** 31 - 1;

/**
 * Runs `job` for `slot`, unless another run of the job holds the lease or the slot has already run, and records its
 * outcome. Invariant: only one run of a job can write at a time, because each run has a higher fencing number than
 * the previous one, and its transactions check it. Never throws.
 */
export async function runExclusive(run: ExclusiveRun): Promise<RunOutcome> {
  const { clock, job, slot, log, observe, unrecorded } = run;
  const begun = clock.now();
  let rows = 0;
  const attempt = async (): Promise<RunOutcome> => {
    const made: { claim?: Claim } = {};
    try {
      const claim = await withTransaction(run.db, (tx) => claimSlot(run, tx, made));
      if (claim === 'busy' || claim === 'repeated') return claim;
      const result = await runClaimed(run, claim);
      rows = result.rows ?? 0;
      return await record(run, claim, result);
    } catch (error) {
      if (made.claim !== undefined) unrecorded.set(job.name, made.claim.fencing);
      log.error('a job could not be started, or its outcome could not be recorded', {
        job: job.name,
        slot,
        err: error,
      });
      return 'unavailable';
    }
  };
  const outcome = await attempt();
  observe({ job: job.name, outcome, durationMs: millisecondsSince(begun, clock), rows });
  return outcome;
}

/** Takes the lease for the slot. Sets `made.claim` too, for the case that the result of the commit is unknown. */
async function claimSlot(
  run: ExclusiveRun,
  tx: Tx,
  made: { claim?: Claim },
): Promise<Claim | 'busy' | 'repeated'> {
  const { clock, holder, leaseSeconds, job, slot, log, unrecorded } = run;
  const lease = await store.lockLease(tx, job.name);
  const now = clock.now();
  if (lease === undefined) return 'busy';
  const left = lease.holder === holder && lease.fencing === unrecorded.get(job.name);
  if (!left && !isLeaseFree(lease.expiresAt, { now, leaseSeconds })) return 'busy';
  const claim = { fencing: lease.fencing + 1, startedAt: now };
  const claimed = { ...claim, job: job.name, slot };
  if (!(await store.insertRun(tx, claimed))) return 'repeated';
  if (lease.holder !== null) {
    log.warn('the previous run of a job did not finish', { job: job.name });
    await store.recordAbandoned(tx, job.name, abandoned);
  }
  await store.takeLease(tx, { ...claimed, holder, expiresAt: addSeconds(now, leaseSeconds) });
  made.claim = claim;
  return claim;
}

/** Runs the job and renews its lease meanwhile. */
async function runClaimed(run: ExclusiveRun, { fencing }: Claim): Promise<Result> {
  const { clock, job, slot, signal } = run;
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  const renewal = keepLease(run, { fencing, onLost: abort });
  try {
    const rows = await job.run({
      slot,
      now: () => clock.now(),
      signal: controller.signal,
      async fence(tx) {
        if (!(await store.holdLease(tx, { job: job.name, fencing, now: clock.now() }))) {
          throw new LeaseLost(job.name);
        }
      },
    });
    return { rows };
  } catch (error) {
    return { rows: null, error };
  } finally {
    signal?.removeEventListener('abort', abort);
    await renewal.stop();
  }
}

/** Renews the lease after each third of its duration, so that two renewals may fail before it expires. */
function keepLease(
  { db, clock, leaseSeconds, job, log }: ExclusiveRun,
  { fencing, onLost }: { fencing: number; onLost: () => void },
): Repeat {
  return repeat({
    clock,
    intervalMs: (leaseSeconds * 1000) / 3,
    async run() {
      const now = clock.now();
      const lease = { job: job.name, fencing, now, expiresAt: addSeconds(now, leaseSeconds) };
      if (!(await store.renewLease(db, lease))) onLost();
    },
    onError: (error) => log.warn('the lease of a job could not be renewed', { job: job.name, err: error }),
  });
}

async function record(run: ExclusiveRun, claim: Claim, { rows, error }: Result): Promise<RunOutcome> {
  const { db, clock, job, slot, log } = run;
  const failed = rows === null;
  if (failed) log.error('a job failed', { job: job.name, slot, err: error });
  const finished = {
    job: job.name,
    slot,
    fencing: claim.fencing,
    finishedAt: clock.now(),
    durationMs: millisecondsSince(claim.startedAt, clock),
    rows: rows === null ? null : Math.min(rows, largestInteger),
    error: failed ? describeFailure(error) : null,
  };
  if (await withTransaction(db, (tx) => store.finishRun(tx, finished))) return failed ? 'failed' : 'done';
  log.warn('another run has taken over the job', { job: job.name, slot });
  return 'lost';
}

/**
 * Returns the milliseconds since `start`: never negative and never more than the column can hold, even if the clock
 * was changed.
 */
function millisecondsSince(start: Date, clock: Clock): number {
  return Math.min(Math.max(clock.now().getTime() - start.getTime(), 0), largestInteger);
}
