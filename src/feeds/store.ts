import type { Selectable } from 'kysely';
import type { AuditPosition } from '../audit/log.ts';
import type { Db, Tx } from '../db/database.ts';
import type { Feeds } from '../db/schema.gen.ts';
import type { FeedGap } from './feed.ts';

/** Inserts the row of a feed, unless it exists. */
export async function insertFeed(
  tx: Tx,
  feed: { name: string; position: AuditPosition; startedAt: Date },
): Promise<void> {
  await tx
    .insertInto('feeds')
    .values({
      name: feed.name,
      tx: feed.position.tx,
      event_id: feed.position.id,
      started_at: feed.startedAt,
    })
    .onConflict((conflict) => conflict.column('name').doNothing())
    .execute();
}

export interface FeedRow {
  name: string;
  position: AuditPosition;
  attempts: number;
  nextAttemptAt: Date | null;
  /** A gap that has not been passed to its handler. */
  gap: FeedGap | undefined;
}

/** Finds and locks a feed until `tx` ends; undefined if it does not exist or another transaction has locked it. */
export async function lockFeed(tx: Tx, name: string): Promise<FeedRow | undefined> {
  const row = await tx
    .selectFrom('feeds')
    .select(['name', 'tx', 'event_id', 'attempts', 'next_attempt_at'])
    .select(['gap_from', 'gap_until', 'gap_reported_at'])
    .where('name', '=', name)
    .forNoKeyUpdate()
    .skipLocked()
    .executeTakeFirst();
  if (row === undefined) return undefined;
  return {
    name: row.name,
    position: { tx: row.tx, id: row.event_id },
    attempts: row.attempts,
    nextAttemptAt: row.next_attempt_at,
    gap: unreportedGap(row),
  };
}

function unreportedGap(row: Pick<Selectable<Feeds>, 'gap_from' | 'gap_until' | 'gap_reported_at'>) {
  const { gap_from: from, gap_until: until, gap_reported_at: reportedAt } = row;
  return from === null || until === null || reportedAt !== null ? undefined : { from, until };
}

/** Moves the feed, which this transaction has locked, to `position`, clears its failures, and marks its gap as reported. */
export async function advanceFeed(
  tx: Tx,
  { feed, position, at }: { feed: FeedRow; position: AuditPosition; at: Date },
): Promise<void> {
  await tx
    .updateTable('feeds')
    .set({
      tx: position.tx,
      event_id: position.id,
      read_at: at,
      attempts: 0,
      last_error: null,
      next_attempt_at: null,
      ...(feed.gap === undefined ? {} : { gap_reported_at: at }),
    })
    .where('name', '=', feed.name)
    .execute();
}

/** Records a failed attempt, unless the feed has advanced or another attempt has failed since the row `feed` was read. */
export async function recordFailure(
  tx: Tx,
  { feed, error, nextAttempt }: { feed: FeedRow; error: string; nextAttempt: Date },
): Promise<void> {
  await tx
    .updateTable('feeds')
    .set({ attempts: feed.attempts + 1, last_error: error, next_attempt_at: nextAttempt })
    .where('name', '=', feed.name)
    .where('tx', '=', feed.position.tx)
    .where('event_id', '=', feed.position.id)
    .where('attempts', '=', feed.attempts)
    .execute();
}

/** Reads the position and the number of gaps of each of the named feeds that has a row. */
export async function readFeeds(
  db: Db,
  names: readonly string[],
): Promise<{ name: string; position: AuditPosition; gaps: number }[]> {
  if (names.length === 0) return [];
  const rows = await db
    .selectFrom('feeds')
    .select(['name', 'tx', 'event_id', 'gaps'])
    .where('name', 'in', names)
    .orderBy('name')
    .execute();
  return rows.map((row) => ({
    name: row.name,
    position: { tx: row.tx, id: row.event_id },
    gaps: row.gaps,
  }));
}
