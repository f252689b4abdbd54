import fc from 'fast-check';
import { sql } from 'kysely';
import type pg from 'pg';
import { beforeAll, expect, it } from 'vitest';
import { createFeedScene, type FeedScene, noFence } from '../../feeds/scene.ts';

let scene: FeedScene;
let writers: pg.Client[];
beforeAll(async () => {
  scene = await createFeedScene();
  writers = await Promise.all([0, 1, 2].map(() => scene.connect()));
});

const writer = fc.nat({ max: 2 });
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('append' as const), writer }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom('commit' as const, 'rollback' as const), writer }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constantFrom('read' as const, 'fail' as const, 'kill' as const) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restore' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

let appended = 0;
let fault: 'fail' | 'kill' | undefined;

const faulty = () =>
  scene.feed('a', {
    async afterWriting(tx) {
      const now = fault;
      fault = undefined;
      if (now === 'kill') await sql`select pg_terminate_backend(pg_backend_pid())`.execute(tx);
      if (now === 'fail') throw new Error('failed');
    },
  });

/** The writers that have an open transaction. */
const open = new Set<number>();

async function end(index: number, how: 'commit' | 'rollback'): Promise<void> {
  if (open.delete(index)) await writers[index]?.query(how);
}

async function restore(): Promise<void> {
  // A restored database has no open transactions.
  for (const index of [...open]) await end(index, 'rollback');
  await scene.database.owner.query(
    'update audit_events set tx = tx + 1000000; update feeds set tx = tx + 1000000 where tx > 0',
  );
  await sql`select continue_audit_order()`.execute(scene.database.db);
}

async function take(step: Step): Promise<void> {
  if (step.kind === 'restore') return restore();
  if (step.kind === 'append') {
    const client = writers[step.writer];
    if (!open.has(step.writer)) await client?.query('begin');
    open.add(step.writer);
    appended += 1;
    // The ids do not increase with time, so that only the position determines the order.
    return scene.append(`evt_${(appended * 7919) % 1000}_${appended}`, client);
  }
  if (step.kind === 'commit' || step.kind === 'rollback') return end(step.writer, step.kind);
  fault = step.kind === 'read' ? undefined : step.kind;
  scene.clock.advance(300);
  const feed = faulty();
  await scene.replica([feed]).readBatch(feed, noFence);
  fault = undefined;
}

it('for any order of appends, commits, reads, failures and restores, each event is delivered once and in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      await scene.database.owner.query('truncate audit_events, feeds, delivered');
      await scene.replica([faulty()]).register();
      for (const each of steps) await take(each);
      const sofar = await scene.delivered('a');
      for (const index of [...open]) await end(index, 'commit');
      scene.clock.advance(300);
      await scene.readAll(scene.replica([faulty()]), 'a');
      expect((await scene.delivered('a')).slice(0, sofar.length)).toEqual(sofar);
    }),
    { seed: 20261130, numRuns: 40 },
  );
}, 60_000);
