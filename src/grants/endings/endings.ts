import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import { addSeconds, type Clock, delay } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import { nextAttemptAt } from '../../platform/retry.ts';
import { pauseBetweenBatches } from '../pause-between-batches.ts';
import type { NewEnding } from './ending.ts';
import { endGrantsUsing } from './store/catalogue.ts';
import * as queue from './store/queue.ts';
import { type BatchSize, type SettledBatch, settleBatch } from './store/settle-batch.ts';

export interface GrantEndingsDeps {
  db: Db;
  clock: Clock;
  ids: Ids;
  onError: (error: unknown) => void;
}

/** Runs first in each transaction of a job. Throws if this process no longer holds the job's lease. */
type Fence = (tx: Tx) => Promise<void>;

/** The caller waits for the first batches, so they are small. One transaction ends at most 1,000 grants. */
const inlineSize: BatchSize = { examined: 500, selected: 50, delegated: 200 };
const inlineBatches = 4;
const backgroundSize: BatchSize = { examined: 2_000, selected: 200, delegated: 800 };

/** How long an ending is postponed while another transaction has locked one of its grants. */
const delaySeconds = 1;
/** An attempt that is due later than this is left to the job. */
const longestWaitMs = 5_000;
/**
 * How long the background work pauses before it reads the queue again. The longest pause is short, because another process
 * may have locked an ending that is due, and because a new ending should not wait for the next attempt of an older one.
 */
const pauseMs = { least: 100, most: 1_000 };
const longestError = 500;

export type GrantEndings = ReturnType<typeof createGrantEndings>;

/**
 * Ends grants by a selection. Besides expiry, a decision about a single grant, and `hallpass end-all`, which
 * raises every epoch, this is the only way in which grants end. `end` runs in the transaction of the cause; from its commit on, no reader sees the grants as active.
 * `settle` then writes each selected grant, and every grant delegated from it, as ended, with its audit event.
 */
export function createGrantEndings(deps: GrantEndingsDeps) {
  const { db, clock, onError } = deps;
  const stopping = new AbortController();
  const { signal } = stopping;
  let background: Promise<void> | undefined;

  return {
    /**
     * Ends the selected grants when `tx` commits. Returns how many are written as ended in `tx` itself: those of a
     * catalogue change. The caller calls `settle` after the commit; if it cannot, a job settles the ending.
     */
    end: (tx: Tx, ending: NewEnding): Promise<number> => markEnded(deps, tx, ending),
    /**
     * Settles queued endings, beginning with the newest, which is the caller's own:
     * a few batches before it returns, the rest in the background. Never throws.
     */
    async settle(): Promise<void> {
      try {
        // Most changes end no other grant: for those this is the only statement.
        if ((await readWaitMs(deps)) === undefined) return;
        for (let batch = 0; batch < inlineBatches && !signal.aborted; batch += 1) {
          if ((await settleNext(deps, { size: inlineSize, first: 'newest' })) === undefined) break;
        }
        background ??= drain(deps, signal)
          .catch(onError)
          .finally(() => {
            background = undefined;
          });
      } catch (error) {
        onError(error);
      }
    },
    /** Settles every queued ending that is due, for the job. Returns the number of grants. */
    settleAll: (fence: Fence, signal: AbortSignal): Promise<number> => settleAll(deps, fence, signal),
    /** Returns the seconds since the oldest queued ending took effect; 0 if none is queued. */
    async lagSeconds(): Promise<number> {
      const oldest = await queue.readOldestEnding(db);
      return oldest === null ? 0 : Math.max(0, (clock.now().getTime() - oldest.getTime()) / 1000);
    },
    /** Stops the background work. A job settles the remaining endings, perhaps after the next start. */
    async stop(): Promise<void> {
      stopping.abort();
      await background;
    },
  };
}

/** Settles queued endings until none is left, or until the next attempt is too far away. */
async function drain(deps: GrantEndingsDeps, signal: AbortSignal): Promise<void> {
  const { clock, onError } = deps;
  while (!signal.aborted) {
    const startedAt = clock.now();
    const settled = await settleNext(deps, { size: backgroundSize, first: 'oldest' }).catch(onError);
    if (settled === undefined) {
      const waitMs = await readWaitMs(deps);
      if (waitMs === undefined || waitMs > longestWaitMs) return;
      await delay(clock, Math.min(Math.max(waitMs, pauseMs.least), pauseMs.most), signal);
    } else await pauseBetweenBatches(clock, startedAt, signal);
  }
}

/** Reads the time until the next queued ending is due; undefined if none is queued. */
async function readWaitMs({ db, clock }: GrantEndingsDeps): Promise<number | undefined> {
  const next = await queue.readNextAttempt(db);
  return next === null ? undefined : Math.max(next.getTime() - clock.now().getTime(), 0);
}

async function markEnded({ ids }: GrantEndingsDeps, tx: Tx, ending: NewEnding): Promise<number> {
  const { selection, at, actor } = ending;
  const id = ids.next('grantEnding');
  if (selection.kind === 'catalogue') {
    const ended = await endGrantsUsing(tx, { ...selection, endingId: id, by: actor.id, at });
    if (ended > 0) await queue.queueEnding(tx, { ...ending, id });
    return ended;
  }
  if (await queue.selectsOpenGrants(tx, selection)) await queue.queueEnding(tx, { ...ending, id });
  return 0;
}

async function settleAll(deps: GrantEndingsDeps, fence: Fence, signal: AbortSignal): Promise<number> {
  const { db, clock } = deps;
  let total = 0;
  while (!signal.aborted && (await queue.readOldestEnding(db)) !== null) {
    const startedAt = clock.now();
    const rows = await settleNext(deps, { size: backgroundSize, first: 'oldest', fence });
    if (rows === undefined) break;
    total += rows;
    await pauseBetweenBatches(clock, startedAt, signal);
  }
  return total;
}

interface Settling {
  size: BatchSize;
  first: queue.QueueOrder;
  fence?: Fence;
}

/** Settles one batch of the first queued ending that is due. Returns the number of grants, or undefined. */
async function settleNext(
  deps: GrantEndingsDeps,
  { size, first, fence }: Settling,
): Promise<number | undefined> {
  let locked: queue.QueuedEnding | undefined;
  try {
    return await withTransaction(deps.db, async (tx) => {
      await fence?.(tx);
      const now = deps.clock.now();
      locked = await queue.lockEnding(tx, { now, first });
      if (locked === undefined) return undefined;
      const eventIds = Array.from({ length: size.selected + size.delegated }, () => deps.ids.next('event'));
      const batch = await settleBatch(tx, { ending: locked, size, now, eventIds });
      await recordProgress(tx, { id: locked.id, batch, now });
      return batch.rows;
    });
  } catch (error) {
    if (locked !== undefined) await postpone(deps, locked, error);
    throw error;
  }
}

/** Records where the next batch begins, or deletes the ending if no grant is left. */
async function recordProgress(
  tx: Tx,
  { id, batch, now }: { id: string; batch: SettledBatch; now: Date },
): Promise<void> {
  if (!batch.isWhole) {
    // A batch makes no progress while another transaction holds a grant: retry in a second.
    if (batch.rows === 0) await queue.delayEnding(tx, { id, nextAttemptAt: addSeconds(now, delaySeconds) });
    return;
  }
  if (batch.next === null) await queue.deleteEnding(tx, id);
  else await queue.advanceEnding(tx, { id, afterId: batch.next });
}

/**
 * Postpones a failed ending: it is retried without end, with backoff. Meanwhile
 * other endings are settled, and its grants are inactive all the same.
 */
async function postpone(
  { db, clock, onError }: GrantEndingsDeps,
  ending: queue.QueuedEnding,
  error: unknown,
): Promise<void> {
  const attempts = ending.attempts + 1;
  const text = (error instanceof Error ? error.message : String(error)).slice(0, longestError);
  await queue
    .postponeEnding(db, {
      id: ending.id,
      attempts,
      nextAttemptAt: nextAttemptAt(attempts, clock.now()),
      error: text,
    })
    .catch(onError);
}
