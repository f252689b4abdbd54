import { sql } from 'kysely';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { createFeedScene, type FeedScene, noFence, readFeedRow, untilEnd } from './scene.ts';

let scene: FeedScene;
beforeAll(async () => {
  scene = await createFeedScene();
});
beforeEach(() => scene.database.owner.query('truncate audit_events, feeds, delivered'));

describe('a transaction that is killed during a batch', () => {
  it('loses nothing and repeats nothing', async () => {
    let kills = 2;
    const feed = scene.feed('a', {
      async afterWriting(tx) {
        kills -= 1;
        if (kills >= 0) await sql`select pg_terminate_backend(pg_backend_pid())`.execute(tx);
      },
    });
    const reader = scene.replica([feed]);
    await reader.register();
    await scene.appendMany(10, 'evt');
    await eventually(async () => expect((await reader.readBatch(feed, noFence)).outcome).toBe('failed'));
    expect(await scene.delivered('a')).toEqual([]);
    scene.clock.advance(1);
    expect((await reader.readBatch(feed, noFence)).outcome).toBe('failed');
    expect(await readFeedRow(scene, 'a')).toMatchObject({ attempts: 2, event_id: '', tx: 0 });
    scene.clock.advance(2);
    await scene.readAll(reader, 'a');
    expect(await readFeedRow(scene, 'a')).toMatchObject({
      attempts: 0,
      last_error: null,
      next_attempt_at: null,
    });
  });
});

describe('a handler that fails', () => {
  it('is retried with growing delays, with its writes rolled back, and does not delay other feeds', async () => {
    let broken = true;
    const afterWriting = async (): Promise<void> => {
      if (broken) throw new Error('no such channel hpa_0123456789');
    };
    const feed = scene.feed('broken', { afterWriting });
    const reader = scene.replica([feed, scene.feed('fine')]);
    await reader.register();
    await scene.appendMany(3, 'evt');
    await eventually(async () => {
      await reader.catchUp(noFence, untilEnd());
      expect((await readFeedRow(scene, 'broken')).attempts).toBe(1);
    });
    await scene.readAll(reader, 'fine');
    const { read_at, ...row } = await readFeedRow(scene, 'broken');
    expect(row).toMatchObject({ attempts: 1, last_error: 'Error: no such channel [redacted]', event_id: '' });
    expect(read_at).toBeNull();
    for (const [attempt, waitSeconds] of [1, 2, 4, 8].entries()) {
      scene.clock.advance(waitSeconds - 0.001);
      expect((await reader.readBatch(feed, noFence)).outcome).toBe('waiting');
      scene.clock.advance(0.001);
      expect((await reader.readBatch(feed, noFence)).outcome).toBe('failed');
      expect((await readFeedRow(scene, 'broken')).attempts).toBe(attempt + 2);
    }
    expect(await scene.delivered('broken')).toEqual([]);
    broken = false;
    scene.clock.advance(300);
    await scene.readAll(reader, 'broken');
    expect((await readFeedRow(scene, 'broken')).read_at).toEqual(scene.clock.now());
  });

  it('because of one event has handled all events before it, and the error is in its row', async () => {
    const feed = scene.feed('a', {
      async afterWriting(_tx, { events }) {
        if (events.some(({ id }) => id === 'evt_00130')) throw new Error('cannot handle evt_00130');
      },
    });
    const reader = scene.replica([feed]);
    await reader.register();
    await scene.appendMany(150, 'evt');
    await eventually(async () => {
      await reader.catchUp(noFence, untilEnd());
      scene.clock.advance(300);
      expect(await scene.delivered('a')).toHaveLength(130);
    });
    await reader.catchUp(noFence, untilEnd());
    expect(await scene.delivered('a')).toEqual((await scene.stored()).slice(0, 130));
    expect((await readFeedRow(scene, 'a')).last_error).toBe('Error: cannot handle evt_00130');
  });

  it('does not undo what another replica has read meanwhile', async () => {
    const other = scene.replica([scene.feed('a')], scene.secondPool());
    const feed = scene.feed('a', {
      async afterWriting(tx) {
        // This replica lost its connection, and the other replica read the batch before the failure was recorded.
        await sql`select pg_terminate_backend(pg_backend_pid())`.execute(tx).catch(() => undefined);
        await scene.readAll(other, 'a');
        throw new Error('late');
      },
    });
    const reader = scene.replica([feed]);
    await reader.register();
    await scene.append('evt_1');
    await eventually(async () => expect((await reader.readBatch(feed, noFence)).outcome).toBe('failed'));
    expect(await readFeedRow(scene, 'a')).toMatchObject({ attempts: 0, event_id: 'evt_1' });
  });
});
