import { sql } from 'kysely';
import pg from 'pg';
import { expect, inject } from 'vitest';
import { type Db, openDatabase } from '../../src/db/database.ts';
import type { Feed, FeedBatch } from '../../src/feeds/feed.ts';
import { createFeedReader, type FeedReader } from '../../src/feeds/feed-reader.ts';
import { createLog } from '../../src/platform/log.ts';
import { atEnd } from '../support/at-end.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

export const noFence = async (): Promise<void> => {};
export const untilEnd = (): AbortSignal => new AbortController().signal;

export interface FeedScene {
  database: TestDatabase;
  clock: FakeClock;
  /** Creates the feed reader of one replica. */
  replica(feeds: readonly Feed[], db?: Db): FeedReader;
  /** Creates a feed that writes the events that it gets to the table `delivered`. */
  feed(name: string, options?: FeedOptions): Feed;
  /** Appends one event, in a separate transaction or in the one that `client` has open. */
  append(id: string, client?: pg.ClientBase, at?: Date): Promise<void>;
  appendMany(count: number, prefix: string): Promise<void>;
  /** Counts the events that are older than every running transaction of the server, and so may be read. */
  countStable(): Promise<number>;
  /** Opens another pool on the same database, as a second replica has. */
  secondPool(): Db;
  /** Opens a connection with the broker's role. */
  connect(): Promise<pg.Client>;
  /** Returns the ids of all events, in the order of the log. */
  stored(): Promise<string[]>;
  /** Returns the ids of the events that were delivered to a feed, in the order of delivery. */
  delivered(feed: string): Promise<string[]>;
  /** Reads until the feed has got every event, and checks that each was delivered once and in order. */
  readAll(reader: FeedReader, feed: string): Promise<void>;
}

export interface FeedOptions {
  startAt?: Feed['startAt'];
  /** Called in the transaction after the batch was written. */
  afterWriting?: Feed['handle'];
}

const insertEvent = `insert into audit_events (id, at, type, outcome, actor_kind, actor_id, details)
  values ($1, $2, 'admin.created', 'success', 'system', 'test', '{}')`;

export async function createFeedScene(): Promise<FeedScene> {
  const database = await createTestDatabase();
  const { owner, pool } = database;
  const clock = new FakeClock();
  await owner.query(`create table delivered (n bigint generated always as identity, feed text, event_id text);
    grant select, insert on delivered to ${inject('server').applicationRole}`);
  const idsOf = async (query: string, values: unknown[] = []): Promise<string[]> =>
    (await owner.query<{ id: string }>(query, values)).rows.map(({ id }) => id);
  const scene: FeedScene = {
    database,
    clock,
    replica: (feeds, db = database.db) => createFeedReader({ db, clock, log: createLog('silent'), feeds }),
    feed: (name, { startAt = 'beginning', afterWriting } = {}) => ({
      name,
      startAt,
      async handle(tx, batch: FeedBatch) {
        const ids = batch.events.map(({ id }) => id);
        await sql`insert into delivered (feed, event_id)
          select ${name}, e.id from unnest(${ids}::text[]) with ordinality as e (id, n) order by e.n`.execute(
          tx,
        );
        await afterWriting?.(tx, batch);
      },
    }),
    append: async (id, client, at = clock.now()) =>
      void (await (client ?? pool).query(insertEvent, [id, at])),
    async appendMany(count, prefix) {
      for (let n = 0; n < count; n += 1) await scene.append(`${prefix}_${String(n).padStart(5, '0')}`);
    },
    async countStable() {
      const { rows } = await pool.query(
        `select count(*)::integer as n from audit_events, audit_order
          where tx < tx_offset + pg_snapshot_xmin(pg_current_snapshot())::text::bigint`,
      );
      return rows[0].n;
    },
    secondPool() {
      const { url } = database;
      const log = createLog('silent');
      const other = openDatabase({ url, log, maxConnections: 12, applicationName: 'other' });
      atEnd(() => other.close());
      return other.db;
    },
    async connect() {
      const client = new pg.Client({ connectionString: database.url });
      client.on('error', () => {});
      await client.connect();
      atEnd(() => client.end());
      return client;
    },
    stored: () => idsOf('select id from audit_events order by tx, id'),
    delivered: (feed) => idsOf('select event_id as id from delivered where feed = $1 order by n', [feed]),
    readAll: (reader, feed) =>
      eventually(async () => {
        await reader.catchUp(noFence, untilEnd());
        expect(await scene.delivered(feed)).toEqual(await scene.stored());
      }),
  };
  return scene;
}

/** Reads the row of a feed. */
export async function readFeedRow({ database }: FeedScene, name: string) {
  return database.db
    .selectFrom('feeds')
    .select(['tx', 'event_id', 'started_at', 'read_at', 'attempts', 'last_error', 'next_attempt_at'])
    .select(['gap_from', 'gap_until', 'gap_reported_at', 'gaps'])
    .where('name', '=', name)
    .executeTakeFirstOrThrow();
}
