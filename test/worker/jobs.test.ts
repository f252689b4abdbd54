import { sql } from 'kysely';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Fence } from '../../src/worker/job.ts';
import { createJobs } from '../../src/worker/jobs.ts';
import { schedules } from '../../src/worker/schedules.ts';
import { createWorkerService } from '../../src/worker/service.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';
import { readJob, startReplica } from './replica.ts';

let database: TestDatabase;
const clock = new FakeClock();
let calls: string[] = [];
let slots = 0;

beforeAll(async () => {
  database = await createTestDatabase();
});
beforeEach(() => {
  calls = [];
});

/** Creates a stand-in for a function of the other features: it calls the fence, as they must, and records the call. */
const called =
  (name: string, rows: number) =>
  async (fence: Fence): Promise<number> => {
    await database.db.transaction().execute(fence);
    calls.push(name);
    return rows;
  };

const none = async () => 0;
const targets = { testDue: none, reconcile: none, cleanUp: none, rotatePasswords: none };

async function start() {
  const jobs = createJobs({
    db: database.db,
    grants: { expireDue: called('expireDue', 2), lapseDue: called('lapseDue', 3) },
    feeds: { catchUp: called('catchUp', 5) },
    keys: { rotateDue: called('rotateDue', 4) },
    targets,
  });
  return startReplica(database, { holder: 'a', clock, jobs });
}

/** Runs a job for a slot that was not used before. */
async function runOnce(name: string) {
  slots += 1;
  const outcome = await (await start()).runNow(name, new Date(clock.now().getTime() + slots * 1000));
  return { outcome, rows: (await readJob(database, name)).last_rows };
}

describe('the table of jobs', () => {
  it('has a function for every schedule, and each runs once on an empty database without an error', async () => {
    const worker = createWorkerService({ db: database.db, clock });
    const before = await worker.list();
    expect(before.map((job) => [job.name, job.schedule])).toEqual(Object.entries(schedules));
    expect(before.every((job) => job.lastSlot === null && !job.running)).toBe(true);
    const replica = await start();
    for (const name of Object.keys(schedules)) {
      expect([name, await replica.runNow(name, clock.now())]).toEqual([name, 'done']);
    }
    expect(calls).toEqual(['expireDue', 'lapseDue', 'catchUp', 'rotateDue']);
    for (const job of await worker.list()) {
      expect(job).toMatchObject({ lastError: null, consecutiveFailures: 0, running: false });
      expect(job.lastSlot).toEqual(clock.now());
      expect(job.lastFinishedAt).toEqual(clock.now());
    }
  });

  it('reports the rows that the features changed', async () => {
    expect(await runOnce('expire-grants')).toEqual({ outcome: 'done', rows: 2 });
    expect(await runOnce('lapse-requests')).toEqual({ outcome: 'done', rows: 3 });
    expect(await runOnce('read-feeds')).toEqual({ outcome: 'done', rows: 5 });
    expect(await runOnce('rotate-keys')).toEqual({ outcome: 'done', rows: 4 });
  });
});

async function partitions(): Promise<string[]> {
  const result = await sql<{ name: string }>`
    select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent in ('tokens'::regclass, 'used_values'::regclass, 'audit_events'::regclass)`.execute(
    database.db,
  );
  return result.rows.map((row) => row.name);
}

describe('partitions', () => {
  it('are created seven days ahead, once each', async () => {
    clock.advance(4 * 24 * 3600);
    const before = await partitions();
    expect(before).not.toContain('tokens_20260313');
    expect(await runOnce('make-partitions')).toEqual({ outcome: 'done', rows: 8 });
    const made = (await partitions()).filter((name) => !before.includes(name)).sort();
    const days = ['20260310', '20260311', '20260312', '20260313'];
    expect(made).toEqual(['tokens', 'used_values'].flatMap((table) => days.map((day) => `${table}_${day}`)));
    expect(await runOnce('make-partitions')).toEqual({ outcome: 'done', rows: 0 });
  });

  it('are dropped when all of their rows are past the retention, and never before', async () => {
    const day = (ago: number) => new Date(clock.now().getTime() - ago * 24 * 3600 * 1000);
    const nameOf = (instant: Date) => instant.toISOString().slice(0, 10).replaceAll('-', '');
    for (const ago of [1, 2, 3, 400, 431, 462]) {
      await sql`select ensure_partitions(${day(ago)}, ${day(ago)})`.execute(database.db);
    }
    const before = await partitions();
    expect((await runOnce('drop-partitions')).outcome).toBe('done');
    const left = await partitions();
    const gone = before.filter((name) => !left.includes(name));
    expect(left).toContain(`tokens_${nameOf(day(1))}`);
    expect(left).toContain(`audit_events_${nameOf(day(400)).slice(0, 6)}`);
    expect(gone).toContain(`tokens_${nameOf(day(3))}`);
    expect(gone).toContain(`audit_events_${nameOf(day(462)).slice(0, 6)}`);
    const kept = {
      tokens: nameOf(day(1)),
      used_values: nameOf(day(1)),
      audit_events: nameOf(day(400)).slice(0, 6),
    };
    for (const name of gone) {
      const [, parent, date = ''] = /^(tokens|used_values|audit_events)_(\d+)$/.exec(name) ?? [];
      expect(date < kept[parent as keyof typeof kept]).toBe(true);
    }
  });
});

describe('drop-idempotency-records', () => {
  // The rows of the previous tests are not counted here.
  beforeAll(() => runOnce('drop-idempotency-records'));

  const insertRecords = (count: number, agoSeconds: number) =>
    sql`insert into idempotency_keys (caller, route, key, body_hash, object_id, created_at)
        select 'c', ${`r${agoSeconds}`}, n::text, decode(repeat('00', 32), 'hex'), 'o',
               ${new Date(clock.now().getTime() - agoSeconds * 1000)}::timestamptz
          from generate_series(1, ${count}::int) n`.execute(database.db);
  const count = async (route: string) =>
    (await database.db.selectFrom('idempotency_keys').select('key').where('route', '=', route).execute())
      .length;

  const waitingForLocks = async () => {
    const result = await sql<{ n: number }>`
      select count(*)::int as n from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock'`.execute(database.db);
    return result.rows[0]?.n;
  };

  it('deletes records that are a day old, in more than one batch, and no younger ones', async () => {
    await insertRecords(1200, 86_400);
    await insertRecords(3, 86_399);
    expect(await runOnce('drop-idempotency-records')).toEqual({ outcome: 'done', rows: 1200 });
    expect([await count('r86400'), await count('r86399')]).toEqual([0, 3]);
  });

  it('does not delete a record that a request replaces at the same moment', async () => {
    await insertRecords(2, 90_000);
    await database.owner.query('begin');
    await database.owner.query("delete from idempotency_keys where route = 'r90000' and key = '1'");
    await database.owner.query(
      `insert into idempotency_keys values ('c', 'r90000', '1', decode(repeat('00', 32), 'hex'), 'o', $1)`,
      [clock.now()],
    );
    const run = runOnce('drop-idempotency-records');
    await expect.poll(waitingForLocks).toBe(1);
    await database.owner.query('commit');
    expect(await run).toEqual({ outcome: 'done', rows: 1 });
    expect(await count('r90000')).toBe(1);
  });

  it('ends between two batches when it is aborted', async () => {
    await insertRecords(1200, 100_000);
    const controller = new AbortController();
    const jobs = createJobs({
      db: database.db,
      grants: { expireDue: called('', 0), lapseDue: called('', 0) },
      feeds: { catchUp: called('', 0) },
      keys: { rotateDue: called('', 0) },
      targets,
    });
    const job = jobs.find(({ name }) => name === 'drop-idempotency-records');
    const rows = await job?.run({
      slot: clock.now(),
      now: () => clock.now(),
      signal: controller.signal,
      fence: async () => controller.abort(),
    });
    expect([rows, await count('r100000')]).toEqual([1000, 200]);
    await runOnce('drop-idempotency-records');
  });

  it('deletes runs that are a week old by every clock, so that a slot cannot run again', async () => {
    await sql`insert into job_runs (job, slot, fencing, started_at) values
      ('expire-grants', '2020-01-01Z', 1, '2020-01-01Z'),
      ('expire-grants', '2020-01-02Z', 2, clock_timestamp() - interval '8 days'),
      ('expire-grants', '2020-01-03Z', 3, clock_timestamp() - interval '6 days')`.execute(database.db);
    const ahead = new FakeClock('2199-01-01T00:00:00Z');
    const jobs = createJobs({
      db: database.db,
      grants: { expireDue: called('', 0), lapseDue: called('', 0) },
      feeds: { catchUp: called('', 0) },
      keys: { rotateDue: called('', 0) },
      targets,
    });
    const replica = await startReplica(database, { holder: 'ahead', clock: ahead, jobs });
    expect(await replica.runNow('drop-idempotency-records', ahead.now())).toBe('done');
    const left = await database.db
      .selectFrom('job_runs')
      .select('slot')
      .where('slot', '<', new Date('2020-02-01Z'))
      .execute();
    expect(left).toEqual([{ slot: new Date('2020-01-03Z') }]);
  });
});
