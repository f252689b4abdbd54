import { findLastStablePosition, findNextEventTime, listEvents } from '../audit/log.ts';
import type { Db, Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import { isDue, nextAttemptAt } from '../platform/retry.ts';
import { describeFailure } from '../worker/failure.ts';
import { batchEvents, type Feed } from './feed.ts';
import * as store from './store.ts';

/** Runs first in each transaction of a job. Throws if this process no longer holds the job's lease. */
type Fence = (tx: Tx) => Promise<void>;

/**
 * The outcome of an attempt to read a batch: `more` or `at-end` if the batch was handled; `busy` if another transaction has
 * locked the feed; `waiting` if an earlier attempt failed and the next one is not due; `failed` if the handler threw: the
 * position stays, and the failure is recorded.
 */
export type BatchOutcome = 'more' | 'at-end' | 'busy' | 'waiting' | 'failed';

export interface FeedReading {
  outcome: BatchOutcome;
  /** How many events were handled. */
  events: number;
}

export interface FeedFigures {
  name: string;
  /** The age of the oldest event that the feed has not read; 0 if it has read all of them. */
  lagSeconds: number;
  /** How many partitions retention dropped before the feed had read them to their end. */
  gaps: number;
}

export interface FeedReaderDeps {
  db: Db;
  clock: Clock;
  log: Log;
  feeds: readonly Feed[];
}

export interface FeedReader {
  /** Inserts each unknown feed with its start position. Call it after `continueAuditOrder`. */
  register(): Promise<void>;
  /** Reads one batch of one feed. Throws if the fence does, or if the outcome cannot be recorded. */
  readBatch(feed: Feed, fence: Fence): Promise<FeedReading>;
  /** Reads batches of all feeds in turn until each is at its end, busy or waiting. Returns the number of events. */
  catchUp(fence: Fence, signal: AbortSignal): Promise<number>;
  /** Returns the metrics of the feeds that the database knows. */
  figures(): Promise<FeedFigures[]>;
}

/**
 * Passes the audit log to its readers in its stable order. One transaction handles a
 * batch, moves the feed's position and holds the lock on its row. So one replica at a time
 * reads a feed, and what a handler writes is written exactly once, also after a crash.
 */
export function createFeedReader(deps: FeedReaderDeps): FeedReader {
  const { db, clock, feeds } = deps;
  const readBatchOf = (feed: Feed, fence: Fence): Promise<FeedReading> => readBatch(deps, feed, fence);
  return {
    async register() {
      for (const { name, startAt } of feeds) {
        await withTransaction(db, async (tx) => {
          const position = startAt === 'beginning' ? beforeAll : await findLastStablePosition(tx);
          await store.insertFeed(tx, { name, position: position ?? beforeAll, startedAt: clock.now() });
        });
      }
    },
    readBatch: readBatchOf,
    async catchUp(fence, signal) {
      let total = 0;
      for (let unread = feeds; unread.length > 0; ) {
        const more: Feed[] = [];
        // One batch of each feed in turn, so that a feed with many unread events does not delay the others.
        for (const feed of unread) {
          if (signal.aborted) return total;
          const { outcome, events } = await readBatchOf(feed, fence);
          total += events;
          if (outcome === 'more') more.push(feed);
        }
        unread = more;
      }
      return total;
    },
    async figures() {
      const known = await store.readFeeds(
        db,
        feeds.map(({ name }) => name),
      );
      const figures: FeedFigures[] = [];
      for (const { name, position, gaps } of known) {
        const oldest = await findNextEventTime(db, position);
        const lagMs = oldest === undefined ? 0 : clock.now().getTime() - oldest.getTime();
        figures.push({ name, lagSeconds: Math.max(lagMs, 0) / 1000, gaps });
      }
      return figures;
    },
  };
}

const beforeAll = { tx: 0, id: '' };

async function readBatch(deps: FeedReaderDeps, feed: Feed, fence: Fence): Promise<FeedReading> {
  const { db, clock, log } = deps;
  let locked: store.FeedRow | undefined;
  try {
    return await withTransaction(db, async (tx) => {
      locked = undefined;
      await fence(tx);
      locked = await store.lockFeed(tx, feed.name);
      if (locked === undefined) return { outcome: 'busy', events: 0 };
      if (!isDue(locked.nextAttemptAt, clock.now())) return { outcome: 'waiting', events: 0 };
      return handOver(tx, { clock, feed, row: locked });
    });
  } catch (error) {
    // Without a locked row, the error is not the feed's: the database or the fence failed.
    if (locked === undefined) throw error;
    const row = locked;
    const attempts = row.attempts + 1;
    log.error('reading a feed failed; it is retried', { feed: feed.name, attempt: attempts, err: error });
    const failure = { error: describeFailure(error), nextAttempt: nextAttemptAt(attempts, clock.now()) };
    await withTransaction(db, async (tx) => {
      await fence(tx);
      await store.recordFailure(tx, { feed: row, ...failure });
    });
    return { outcome: 'failed', events: 0 };
  }
}

/** Passes the events after the feed's position to its handler, and moves the position to the last one. */
async function handOver(
  tx: Tx,
  { clock, feed, row }: { clock: Clock; feed: Feed; row: store.FeedRow },
): Promise<FeedReading> {
  const limit = batchEvents(row.attempts);
  const events = await listEvents(tx, {}, { limit, after: row.position });
  const last = events.at(-1);
  if (last !== undefined || row.gap !== undefined) {
    await feed.handle(tx, { events, gap: row.gap });
    await store.advanceFeed(tx, { feed: row, position: last ?? row.position, at: clock.now() });
  }
  return { outcome: events.length === limit ? 'more' : 'at-end', events: events.length };
}
