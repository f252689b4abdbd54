import { sql } from 'kysely';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { dropPartitions } from '../../src/db/partitions.ts';
import type { FeedGap } from '../../src/feeds/feed.ts';
import { eventually } from '../support/eventually.ts';
import { createFeedScene, type FeedScene, noFence, readFeedRow, untilEnd } from './scene.ts';

let scene: FeedScene;
beforeAll(async () => {
  scene = await createFeedScene();
});

/** Months whose partitions are past their retention by every clock. */
const months = ['2020-01', '2020-02', '2020-03'];
const day = (month: string, date: string): Date => new Date(`${month}-${date}T00:00:00Z`);

beforeEach(async () => {
  await scene.database.owner.query('truncate audit_events, feeds, delivered');
  for (const month of months) {
    const at = day(month, '01');
    await sql`select ensure_partitions(${at}, ${at})`.execute(scene.database.db);
  }
});

const drop = () => dropPartitions(scene.database.db, scene.clock.now());

/** Creates a feed `a` with three unread events in each of the months, and collects the gaps that its handler gets. */
async function scan() {
  const reportedGaps: (FeedGap | undefined)[] = [];
  const feed = scene.feed('a', { afterWriting: async (_tx, { gap }) => void reportedGaps.push(gap) });
  const reader = scene.replica([feed]);
  await reader.register();
  for (const month of months) {
    for (const date of ['03', '05', '07'])
      await scene.append(`evt_${month}_${date}`, undefined, day(month, date));
  }
  return { reader, feed, reportedGaps };
}

describe('retention that drops events that a feed has not read', () => {
  it('is recorded as a gap, reported to the handler once, and the feed continues after it', async () => {
    const { reader, feed, reportedGaps } = await scan();
    await drop();
    const gap = { from: day('2020-01', '03'), until: day('2020-03', '07') };
    expect(await readFeedRow(scene, 'a')).toMatchObject({
      gaps: 3,
      gap_from: gap.from,
      gap_until: gap.until,
      gap_reported_at: null,
    });
    expect(await reader.figures()).toMatchObject([{ name: 'a', gaps: 3 }]);
    await scene.append('evt_later');
    await scene.readAll(reader, 'a');
    expect(reportedGaps.filter((each) => each !== undefined)).toEqual([gap]);
    expect(reportedGaps[0]).toEqual(gap);
    expect(await reader.readBatch(feed, noFence)).toEqual({ outcome: 'at-end', events: 0 });
    expect((await readFeedRow(scene, 'a')).gap_reported_at).toEqual(scene.clock.now());
  });

  it('is reported even if there are no events after the gap', async () => {
    const { reader, reportedGaps } = await scan();
    await drop();
    expect(await reader.catchUp(noFence, untilEnd())).toBe(0);
    expect(reportedGaps).toEqual([{ from: day('2020-01', '03'), until: day('2020-03', '07') }]);
  });

  it('is reported for the unread events only, if the feed had read some of a partition', async () => {
    const { reader, reportedGaps } = await scan();
    await eventually(async () => {
      await reader.catchUp(noFence, untilEnd());
      expect(await scene.delivered('a')).toHaveLength(9);
    });
    await scene.database.owner.query(`update feeds f set tx = e.tx, event_id = e.id
      from audit_events e where e.id = 'evt_2020-03_05'`);
    await drop();
    expect(await readFeedRow(scene, 'a')).toMatchObject({ gaps: 1, gap_from: day('2020-03', '07') });
    await reader.catchUp(noFence, untilEnd());
    expect(reportedGaps.at(-1)).toEqual({ from: day('2020-03', '07'), until: day('2020-03', '07') });
  });

  it('is reported again if the handler fails', async () => {
    const { reader } = await scan();
    await drop();
    const reportedGaps: (FeedGap | undefined)[] = [];
    const failing = scene.feed('a', {
      async afterWriting(_tx, { gap }) {
        reportedGaps.push(gap);
        if (reportedGaps.length === 1) throw new Error('not now');
      },
    });
    expect((await scene.replica([failing]).readBatch(failing, noFence)).outcome).toBe('failed');
    scene.clock.advance(1);
    await scene.replica([failing]).catchUp(noFence, untilEnd());
    expect(reportedGaps).toHaveLength(2);
    expect(reportedGaps[0]).toEqual(reportedGaps[1]);
    expect(await reader.catchUp(noFence, untilEnd())).toBe(0);
  });
});

it('retention that drops only events that every feed has read leaves no gap', async () => {
  const { reader, reportedGaps } = await scan();
  await scene.readAll(reader, 'a');
  await drop();
  expect(await readFeedRow(scene, 'a')).toMatchObject({ gaps: 0, gap_from: null, gap_until: null });
  await reader.catchUp(noFence, untilEnd());
  expect(reportedGaps.every((gap) => gap === undefined)).toBe(true);
});
