import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import {
  type Batch,
  countByStatus,
  type OpenGrants,
  type Swept,
  sweepExpired,
  sweepLapsed,
  sweepOutdated,
} from './store.ts';

/** So many share a commit, and keep the event loop and the database from others no longer than a few milliseconds. */
const batchRows = 500;
const beforeAll = new Date(0);

/** Run first in a transaction of a job; throws if the job is no longer ours. */
type Fence = (tx: Tx) => Promise<void>;

interface Sweep {
  by: string;
  fence: Fence;
  /** Aborted: the batch that is under way is the last. */
  signal: AbortSignal;
  end: (tx: Tx, batch: Batch) => Promise<Swept>;
}

/** Writes down the endings that time or an epoch has brought; what has ended was inactive before that already. */
export function createGrantSweep({ db, ids, clock }: { db: Db; ids: Ids; clock: Clock }) {
  function endBatch({ by, fence, end }: Sweep, from: Date): Promise<Swept> {
    return withTransaction(db, async (tx) => {
      await fence(tx);
      const eventIds = Array.from({ length: batchRows }, () => ids.next('event'));
      return end(tx, { now: clock.now(), by, from, eventIds });
    });
  }

  async function sweep(run: Sweep): Promise<number> {
    let total = 0;
    let from: Date | null = beforeAll;
    while (from !== null && !run.signal.aborted) {
      const { rows, until } = await endBatch(run, from);
      total += rows;
      from = until;
    }
    return total;
  }

  return {
    /** Ends the grants whose time is over, or whose agent or resource is gone; answers how many. */
    async expireDue(fence: Fence, signal: AbortSignal): Promise<number> {
      const run = { by: 'expire-grants', fence, signal };
      return (await sweep({ ...run, end: sweepOutdated })) + (await sweep({ ...run, end: sweepExpired }));
    },
    /** Ends the requests that nobody decided in time; answers how many. */
    lapseDue: (fence: Fence, signal: AbortSignal) =>
      sweep({ by: 'lapse-requests', fence, signal, end: sweepLapsed }),
    /** For the metrics. */
    countOpen: (): Promise<OpenGrants> => countByStatus(db, clock.now()),
  };
}
