import { systemActor } from '../../audit/audit-event.ts';
import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import { ancestorEndedReason } from '../endings/ending.ts';
import type { GrantEndings } from '../endings/endings.ts';
import { pauseBetweenBatches } from '../pause-between-batches.ts';
import { sweepEndedEpochs } from './ended-epochs.ts';
import { type Batch, countByStatus, readSweepLag, type Swept, sweepExpired, sweepLapsed } from './store.ts';

/**
 * How many grants one transaction ends, so that it takes a few tens of milliseconds. Batches of
 * grants that epochs have ended are smaller: with a higher limit the planner would read all grants.
 */
const batchRows = { due: 250, outdated: 100 };
const beforeAll = new Date(0);

/** Runs first in each transaction of a job. Throws if this process no longer holds the job's lease. */
type Fence = (tx: Tx) => Promise<void>;

interface Run {
  by: string;
  fence: Fence;
  batchRows: number;
  /** If aborted, the current batch is the last one. */
  signal: AbortSignal;
}

interface Sweep extends Run {
  end: (tx: Tx, batch: Batch) => Promise<Swept>;
}

export interface GrantSweepDeps {
  db: Db;
  ids: Ids;
  clock: Clock;
  grantEndings: Pick<GrantEndings, 'end' | 'settleAll'>;
}

/**
 * Creates the sweep, which writes as ended the grants that time or a raised epoch has ended. Readers already see them
 * as ended.
 */
export function createGrantSweep({ db, ids, clock, grantEndings }: GrantSweepDeps) {
  async function inBatch<T>(
    { by, fence, batchRows: length, signal }: Run,
    work: (tx: Tx, batch: Omit<Batch, 'from'>) => Promise<T>,
  ): Promise<T> {
    const startedAt = clock.now();
    const result = await withTransaction(db, async (tx) => {
      await fence(tx);
      const eventIds = Array.from({ length }, () => ids.next('event'));
      return work(tx, { now: clock.now(), by, eventIds });
    });
    await pauseBetweenBatches(clock, startedAt, signal);
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
    /** Ends the grants that have expired or whose agent's or resource's epoch was raised. Returns how many. */
    async expireDue(fence: Fence, signal: AbortSignal): Promise<number> {
      const run = { by: 'expire-grants', fence, batchRows: batchRows.due, signal };
      const expired = await sweep({ ...run, end: sweepExpired });
      const outdated = { ...run, batchRows: batchRows.outdated };
      // Queued endings come first, because they name their cause. The sweep does not find their grants again.
      const settled = await grantEndings.settleAll(fence, signal);
      const ended = await sweepEndedEpochs({ signal, inBatch: (work) => inBatch(outdated, work) });
      const derived = ended === 0 ? 0 : await settleDerived({ db, clock, grantEndings }, fence, signal);
      return expired + settled + ended + derived;
    },
    /** Ends the requests that were not decided in time. Returns how many. */
    lapseDue: (fence: Fence, signal: AbortSignal) =>
      sweep({ by: 'lapse-requests', fence, batchRows: batchRows.due, signal, end: sweepLapsed }),
    /** Counts the open grants by effective status, for the metrics. */
    countOpen: (): Promise<Record<string, number>> => countByStatus(db, clock.now()),
    lagSeconds: (): Promise<number> => readSweepLag(db, clock.now()),
  };
}

/** Ends the grants delegated, directly or not, from grants that a raised epoch has ended. */
async function settleDerived(
  { db, clock, grantEndings }: Omit<GrantSweepDeps, 'ids'>,
  fence: Fence,
  signal: AbortSignal,
): Promise<number> {
  await withTransaction(db, async (tx) => {
    await fence(tx);
    await grantEndings.end(tx, {
      selection: { kind: 'derived' },
      reason: ancestorEndedReason,
      at: clock.now(),
      actor: systemActor('expire-grants'),
    });
  });
  return grantEndings.settleAll(fence, signal);
}
