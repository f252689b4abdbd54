import { sql } from 'kysely';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { createFeedScene, type FeedScene, noFence, readFeedRow, untilEnd } from './scene.ts';

let scene: FeedScene;
beforeAll(async () => {
  scene = await createFeedScene();
});
beforeEach(() => scene.database.owner.query('truncate audit_events, feeds, delivered'));

describe('the order of the log', () => {
  it('is kept for transactions that commit out of order: no event is skipped or repeated', async () => {
    const reader = scene.replica([scene.feed('a')]);
    await reader.register();
    const [early, middle, late] = [await scene.connect(), await scene.connect(), await scene.connect()];
    for (const client of [early, middle, late]) await client.query('begin');
    await scene.append('evt_early', early);
    await scene.append('evt_middle', middle);
    await scene.appendMany(3, 'evt_between');
    await scene.append('evt_late', late);
    await late.query('commit');
    // All but the two open transactions have committed. Every event is after the first of these.
    expect(await reader.catchUp(noFence, untilEnd())).toBe(0);
    await middle.query('rollback');
    expect(await reader.catchUp(noFence, untilEnd())).toBe(0);
    await early.query('commit');
    await scene.readAll(reader, 'a');
    expect(await scene.delivered('a')).toHaveLength(5);
    expect((await scene.delivered('a'))[0]).toBe('evt_early');
  });

  it('is kept while many transactions append concurrently and a feed is read throughout', async () => {
    const reader = scene.replica([scene.feed('a')]);
    await reader.register();
    let appending = true;
    const reading = (async () => {
      while (appending) await reader.catchUp(noFence, untilEnd());
    })();
    await Promise.all(Array.from({ length: 6 }, (_, n) => scene.appendMany(60, `evt_${n}`)));
    appending = false;
    await reading;
    await scene.readAll(reader, 'a');
    expect(await scene.delivered('a')).toHaveLength(360);
  });

  it("continues after the feeds' positions in a database that was restored into another cluster", async () => {
    const { owner, db } = scene.database;
    const reader = scene.replica([scene.feed('a')]);
    await reader.register();
    await scene.appendMany(5, 'evt_before');
    await scene.readAll(reader, 'a');
    await scene.append('evt_unread');
    // The restored database keeps its positions, while the cluster counts from a lower number. Moving both up has the
    // same effect.
    await owner.query('update audit_events set tx = tx + 1000000; update feeds set tx = tx + 1000000');
    expect(await reader.catchUp(noFence, untilEnd())).toBe(0);
    await sql`select continue_audit_order()`.execute(db);
    await scene.appendMany(2, 'evt_after');
    await scene.readAll(reader, 'a');
    expect(await scene.delivered('a')).toHaveLength(8);
  });

  it("continues after a feed's position even if the last event that it read was deleted", async () => {
    const { owner, db } = scene.database;
    const reader = scene.replica([scene.feed('a')]);
    await reader.register();
    await scene.append('evt_before');
    await scene.readAll(reader, 'a');
    await owner.query('update feeds set tx = tx + 3000000; truncate audit_events, delivered');
    await sql`select continue_audit_order()`.execute(db);
    await scene.append('evt_after');
    await scene.readAll(reader, 'a');
    expect(await scene.delivered('a')).toEqual(['evt_after']);
  });
});

describe('several replicas', () => {
  it('deliver each event once when twenty read the same feed at once', async () => {
    const feed = scene.feed('a');
    const readers = [scene.replica([feed]), scene.replica([feed], scene.secondPool())];
    await Promise.all(readers.map((reader) => reader.register()));
    await scene.appendMany(450, 'evt');
    const twenty = Array.from({ length: 10 }, () => readers).flat();
    await Promise.all(twenty.map((reader) => reader.catchUp(noFence, untilEnd())));
    for (const reader of readers) await scene.readAll(reader, 'a');
    expect(await scene.delivered('a')).toHaveLength(450);
  });

  it('do not wait for a feed that another replica reads, and read another feed meanwhile', async () => {
    let enter = (): void => {};
    let leave = (): void => {};
    const entered = new Promise<void>((resolve) => {
      enter = resolve;
    });
    const left = new Promise<void>((resolve) => {
      leave = resolve;
    });
    const afterWriting = async (): Promise<void> => {
      enter();
      await left;
    };
    const slow = scene.feed('slow', { afterWriting });
    const quick = scene.feed('quick');
    const first = scene.replica([slow, quick]);
    const second = scene.replica([slow, quick], scene.secondPool());
    await first.register();
    await scene.append('evt_1');
    const reading = eventually(async () =>
      expect(await first.readBatch(slow, noFence)).toEqual({ outcome: 'at-end', events: 1 }),
    );
    await entered;
    try {
      expect(await second.readBatch(slow, noFence)).toEqual({ outcome: 'busy', events: 0 });
      expect((await second.readBatch(quick, noFence)).outcome).toBe('at-end');
    } finally {
      leave();
    }
    await reading;
    await scene.readAll(second, 'quick');
    await scene.readAll(second, 'slow');
  });
});

describe('a new feed', () => {
  it('starts at the oldest event or after the newest, as its row of the table says', async () => {
    await scene.append('evt_old');
    const whole = scene.feed('whole', { startAt: 'beginning' });
    const fresh = scene.feed('fresh', { startAt: 'now' });
    const reader = scene.replica([whole, fresh]);
    await eventually(async () => {
      await scene.database.owner.query('truncate feeds');
      await reader.register();
      expect((await readFeedRow(scene, 'fresh')).event_id).toBe('evt_old');
    });
    await scene.append('evt_new');
    await scene.readAll(reader, 'whole');
    await eventually(async () => {
      await reader.catchUp(noFence, untilEnd());
      expect(await scene.delivered('fresh')).toEqual(['evt_new']);
    });
  });

  it('with the start `now` gets the events that had not committed at its start', async () => {
    const open = await scene.connect();
    await open.query('begin');
    await scene.append('evt_open', open);
    const reader = scene.replica([scene.feed('a', { startAt: 'now' })]);
    await reader.register();
    await open.query('commit');
    await scene.readAll(reader, 'a');
    expect(await scene.delivered('a')).toEqual(['evt_open']);
  });

  it('keeps its position when it is registered again', async () => {
    const reader = scene.replica([scene.feed('a')]);
    await reader.register();
    await scene.append('evt_1');
    await scene.readAll(reader, 'a');
    await scene.replica([scene.feed('a')]).register();
    await scene.readAll(reader, 'a');
  });
});

describe('a run of the job', () => {
  it('ends between two batches when it is aborted, and continues there the next time', async () => {
    const controller = new AbortController();
    const afterWriting = async (): Promise<void> => controller.abort();
    const reader = scene.replica([scene.feed('a', { afterWriting }), scene.feed('b', { afterWriting })]);
    await reader.register();
    await scene.appendMany(250, 'evt');
    // While another session of the server is older than some of the events, a batch ends before these.
    await eventually(async () => expect(await scene.countStable()).toBe(250));
    await reader.catchUp(noFence, controller.signal);
    expect(await scene.delivered('a')).toHaveLength(200);
    expect(await scene.delivered('b')).toEqual([]);
    await scene.readAll(reader, 'a');
    await scene.readAll(reader, 'b');
  });

  it('that has lost its lease reads nothing, and does not count as a failure of a feed', async () => {
    const feed = scene.feed('a');
    const reader = scene.replica([feed]);
    await reader.register();
    await scene.append('evt_1');
    const lost = async (): Promise<void> => {
      throw new Error('lost');
    };
    await expect(reader.catchUp(lost, untilEnd())).rejects.toThrow('lost');
    expect(await scene.delivered('a')).toEqual([]);
    expect(await readFeedRow(scene, 'a')).toMatchObject({ attempts: 0, last_error: null });
  });
});

it('the lag of a feed is the age of the oldest event that it has not read, committed or not yet stable', async () => {
  const reader = scene.replica([scene.feed('a'), scene.feed('unknown')]);
  await scene.replica([scene.feed('a')]).register();
  expect(await reader.figures()).toEqual([{ name: 'a', lagSeconds: 0, gaps: 0 }]);
  const open = await scene.connect();
  await open.query('begin');
  await scene.append('evt_open', open);
  await scene.append('evt_1');
  scene.clock.advance(7);
  expect(await reader.figures()).toEqual([{ name: 'a', lagSeconds: 7, gaps: 0 }]);
  await open.query('rollback');
  await scene.readAll(scene.replica([scene.feed('a')]), 'a');
  expect(await reader.figures()).toEqual([{ name: 'a', lagSeconds: 0, gaps: 0 }]);
});
