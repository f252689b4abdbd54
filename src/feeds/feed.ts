import type { AuditEvent } from '../audit/audit-event.ts';
import type { Tx } from '../db/database.ts';

/** Events that retention dropped before the feed had read them. */
export interface FeedGap {
  /** The time of the first lost event. */
  from: Date;
  /** The time of the last lost event. */
  until: Date;
}

/** One batch of events for a feed. */
export interface FeedBatch {
  /** In the order of the audit log; empty only if there is a gap to report. */
  events: readonly AuditEvent[];
  /** The lost events, which precede `events`; set in the first batch after the gap. */
  gap: FeedGap | undefined;
}

/** A reader of the audit log. */
export interface Feed {
  /** The key of its position in the database. Must never be changed, nor be used for another feed. */
  name: string;
  /** The start position of a new feed: after the last stable event of that moment, or at the oldest event. */
  startAt: 'now' | 'beginning';
  /**
   * Handles the batch in `tx`, the transaction that moves the feed's position, so that what it writes there is
   * written exactly once. Must have no effect outside of `tx`, because a failed batch is passed again. Must not
   * call another service over the network, because a long transaction delays every reader of the audit log.
   */
  handle(tx: Tx, batch: FeedBatch): Promise<void>;
}

const maxBatchEvents = 200;

/**
 * Returns how many events to read after `attempts` failures in a row: half as many each time, so that all events before
 * the one that cannot be handled are handled, and `last_error` describes that event.
 */
export function batchEvents(attempts: number): number {
  return Math.max(1, Math.floor(maxBatchEvents / 2 ** attempts));
}
