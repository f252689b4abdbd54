import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import { type Clock, delay } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import { sweepEndedEpochs } from './ended-epochs.ts';
import { type Batch, countByStatus, readSweepLag, type Swept, sweepExpired, sweepLapsed } from './store.ts';

/**
 * So many share a plan and a commit, and keep the database from others no longer than a few tens of milliseconds. Of what
 * epochs have ended fewer: to look for many, a planner would rather read all grants.
 */
const batchRows = { due: 250, outdated: 100 };
/** This part of the time is left to whoever waits for an answer: what is written down here has ended long before. */
const pausedShare = 1 / 3;
/** A clock that is put forward makes a batch look long. */
const longestPauseMs = 1_000;
const beforeAll = new Date(0);

/** Run first in a transaction of a job; throws if the job is no longer ours. */
type Fence = (tx: Tx) => Promise<void>;

interface Run {
  by: string;
  fence: Fence;
  batchRows: number;
}

interface Sweep extends Run {
  /** Aborted: the batch that is under way is the last. */
  signal: AbortSignal;
  end: (tx: Tx, batch: Batch) => Promise<Swept>;
}

/** Writes down the endings that time or an epoch has brought; what has ended was inactive before that already. */
export function createGrantSweep({ db, ids, clock }: { db: Db; ids: Ids; clock: Clock }) {
  async function inBatch<T>(
    { by, fence, batchRows: length }: Run,
    work: (tx: Tx, batch: Omit<Batch, 'from'>) => Promise<T>,
  ): Promise<T> {
    const startedAt = clock.now().getTime();
    const result = await withTransaction(db, async (tx) => {
      await fence(tx);
      const eventIds = Array.from({ length }, () => ids.next('event'));
      return work(tx, { now: clock.now(), by, eventIds });
    });
    const tookMs = clock.now().getTime() - startedAt;
    const pauseMs = Math.ceil((tookMs * pausedShare) / (1 - pausedShare));
    if (tookMs > 0) await delay(clock, Math.min(pauseMs, longestPauseMs));
    return result;
  }

  async function sweep(run: Sweep): Promise<number> {
    let total = 0;
    let place: Date | null = beforeAll;
    while (place !== null && !run.signal.aborted) {
      const from: Date = place;
      const { rows, until } = await inBatch(run, (tx, batch) => run.end(tx, { ...batch, from }));
      total += rows;
      place = until;
    }
    return total;
  }

  return {
    /** Ends the grants whose time is over, or whose agent or resource is gone; answers how many. */
    async expireDue(fence: Fence, signal: AbortSignal): Promise<number> {
      const run = { by: 'expire-grants', fence, batchRows: batchRows.due };
      const expired = await sweep({ ...run, signal, end: sweepExpired });
      const outdated = { ...run, batchRows: batchRows.outdated };
      return expired + (await sweepEndedEpochs({ signal, inBatch: (work) => inBatch(outdated, work) }));
    },
    /** Ends the requests that nobody decided in time; answers how many. */
    lapseDue: (fence: Fence, signal: AbortSignal) =>
      sweep({ by: 'lapse-requests', fence, batchRows: batchRows.due, signal, end: sweepLapsed }),
    /** For the metrics. */
    countOpen: (): Promise<Record<string, number>> => countByStatus(db, clock.now()),
    lagSeconds: (): Promise<number> => readSweepLag(db, clock.now()),
  };
}
