import { beforeAll, describe, expect, it } from 'vitest';
import { withTransaction } from '../../src/db/transaction.ts';
import { type Job, type JobContext, LeaseLost, type RunOutcome } from '../../src/worker/job.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';
import { gate, readJob, readRuns, startReplica } from './replica.ts';
import { SteppingClock } from './stepping-clock.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

const schedule = '*/10 * * * * *';
const start = Date.parse('2026-03-02T10:00:00Z');
const slot = (n: number) => new Date(start + n * 10_000);
const job = (name: string, run: Job['run']): Job => ({ name, schedule, run });

/** Writes as a job does: one row of `idempotency_keys`, in a transaction that begins with the fence. Returns 1. */
function write({ fence }: JobContext, key: string): Promise<number> {
  return withTransaction(database.db, async (tx) => {
    await fence(tx);
    const row = { caller: 'test', route: 'test', key, body_hash: Buffer.alloc(32), object_id: key };
    await tx
      .insertInto('idempotency_keys')
      .values({ ...row, created_at: slot(0) })
      .execute();
    return 1;
  });
}
const countWritten = async (key: string) =>
  (await database.db.selectFrom('idempotency_keys').select('key').where('key', '=', key).execute()).length;

describe('one slot', () => {
  it('runs once for twenty concurrent callers on two replicas', async () => {
    let runs = 0;
    const jobs = [
      job('once', async (context) => {
        runs += 1;
        return write(context, `once-${runs}`);
      }),
    ];
    const clock = new FakeClock();
    const a = await startReplica(database, { holder: 'a', clock, jobs });
    const b = await startReplica(database, { holder: 'b', clock, jobs });
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? a : b).runNow('once', slot(1))),
    );
    expect(runs).toBe(1);
    expect(outcomes.filter((outcome) => outcome === 'done')).toHaveLength(1);
    expect(new Set(outcomes)).not.toContain('unavailable');
    expect((await readJob(database, 'once')).fencing).toBe(1);
  });

  it('runs once if two replicas attempt it, and each slot gets the next fencing number', async () => {
    const ran: number[] = [];
    const jobs = [
      job('every-slot', async ({ slot: at }) => {
        ran.push(at.getTime());
        return 0;
      }),
    ];
    const clock = new FakeClock();
    const a = await startReplica(database, { holder: 'a', clock, jobs });
    const b = await startReplica(database, { holder: 'b', clock, jobs });
    for (let n = 0; n < 10; n += 1) {
      await Promise.all([a.runNow('every-slot', slot(n)), b.runNow('every-slot', slot(n))]);
      clock.advance(10);
    }
    expect(ran).toEqual(Array.from({ length: 10 }, (_, n) => slot(n).getTime()));
    const fencing = (await readRuns(database, 'every-slot')).map((run) => run.fencing);
    expect(fencing).toEqual(Array.from({ length: 10 }, (_, n) => n + 1));
  });

  it('does not run again on any replica after the clock was set back, even if its run failed', async () => {
    let runs = 0;
    const jobs = [
      job('stepped', async () => {
        runs += 1;
        throw new Error('failed');
      }),
    ];
    const clock = new SteppingClock();
    const a = await startReplica(database, { holder: 'a', clock, jobs });
    const b = await startReplica(database, { holder: 'b', clock, jobs });
    expect(await a.runNow('stepped', slot(1))).toBe('failed');
    clock.step(-7200);
    expect(await a.runNow('stepped', slot(1))).toBe('repeated');
    expect(await b.runNow('stepped', slot(1))).toBe('repeated');
    expect(runs).toBe(1);
    expect(await readJob(database, 'stepped')).toMatchObject({ fencing: 1, consecutive_failures: 1 });
  });
});

describe('a run', () => {
  it('excludes every other run of its job, and releases the job when it ends', async () => {
    const paused = gate();
    const begun = gate();
    const clock = new FakeClock();
    const jobs = [
      job('exclusive', async () => {
        begun.open();
        await paused.opened;
        return 7;
      }),
    ];
    const a = await startReplica(database, { holder: 'a', clock, jobs });
    const b = await startReplica(database, { holder: 'b', clock, jobs });
    const first = a.runNow('exclusive', slot(1));
    await begun.opened;
    expect(await readJob(database, 'exclusive')).toMatchObject({ holder: 'a', last_slot: slot(1) });
    expect(await b.runNow('exclusive', slot(2))).toBe('busy');
    clock.advance(0.25);
    paused.open();
    expect(await first).toBe('done');
    expect(await readJob(database, 'exclusive')).toMatchObject({
      fencing: 1,
      holder: null,
      lease_expires_at: null,
      last_finished_at: clock.now(),
      last_duration_ms: 250,
      last_rows: 7,
      last_error: null,
    });
    expect(await readRuns(database, 'exclusive')).toEqual([
      { slot: slot(1), fencing: 1, finished_at: clock.now(), rows: 7, error: null },
    ]);
    expect(await b.runNow('exclusive', slot(2))).toBe('done');
    expect(clock.timers).toBe(0);
    expect(a.reports).toEqual([{ job: 'exclusive', outcome: 'done', durationMs: 250, rows: 7 }]);
  });

  it('renews its lease until it ends', async () => {
    const paused = gate();
    const begun = gate();
    const clock = new FakeClock();
    const jobs = [
      job('long', async (context) => {
        begun.open();
        await paused.opened;
        return write(context, 'long');
      }),
    ];
    const a = await startReplica(database, { holder: 'a', clock, jobs });
    const b = await startReplica(database, { holder: 'b', clock, jobs });
    const run = a.runNow('long', slot(1));
    await begun.opened;
    for (let renewal = 1; renewal <= 9; renewal += 1) {
      clock.advance(10);
      const end = new Date(clock.now().getTime() + 30_000);
      await expect.poll(() => readJob(database, 'long')).toMatchObject({ lease_expires_at: end });
      await expect.poll(() => clock.timers).toBe(1);
    }
    expect(await b.runNow('long', slot(9))).toBe('busy');
    paused.open();
    expect(await run).toBe('done');
    expect(await countWritten('long')).toBe(1);
  });

  it('that was suspended past its lease can write nothing, and does not change the stored outcome of the next run', async () => {
    const asleep = new FakeClock();
    const awake = new FakeClock();
    const paused = gate();
    const begun = gate();
    let late: unknown;
    let signal: AbortSignal | undefined;
    const a = await startReplica(database, {
      holder: 'a',
      clock: asleep,
      jobs: [
        job('late', async (context) => {
          signal = context.signal;
          await write(context, 'late-early');
          begun.open();
          await paused.opened;
          return write(context, 'late-a').catch((error: unknown) => {
            late = error;
            throw error;
          });
        }),
      ],
    });
    const b = await startReplica(database, {
      holder: 'b',
      clock: awake,
      jobs: [job('late', (context) => write(context, 'late-b'))],
    });
    const first = a.runNow('late', slot(1));
    await begun.opened;
    awake.advance(31);
    expect(await b.runNow('late', slot(4))).toBe('done');
    const afterB = await readJob(database, 'late');
    expect(afterB).toMatchObject({
      fencing: 2,
      last_slot: slot(4),
      consecutive_failures: 0,
      last_error: null,
    });
    asleep.advance(31);
    paused.open();
    expect(await first).toBe('lost');
    expect(late).toBeInstanceOf(LeaseLost);
    expect(signal?.aborted).toBe(true);
    expect([
      await countWritten('late-early'),
      await countWritten('late-a'),
      await countWritten('late-b'),
    ]).toEqual([1, 0, 1]);
    expect(await readJob(database, 'late')).toEqual(afterB);
    expect((await readRuns(database, 'late')).map((run) => [run.fencing, run.rows, run.error])).toEqual([
      [1, null, null],
      [2, 1, null],
    ]);
    expect(asleep.timers).toBe(0);
  });

  it('cannot write while a run that has taken over its job is in progress', async () => {
    const asleep = new FakeClock();
    const awake = new FakeClock();
    const paused = gate();
    const begun = gate();
    const a = await startReplica(database, {
      holder: 'a',
      clock: asleep,
      jobs: [
        job('taken', async (context) => {
          begun.open();
          await paused.opened;
          return write(context, 'taken-a');
        }),
      ],
    });
    let first: Promise<RunOutcome> | undefined;
    const b = await startReplica(database, {
      holder: 'b',
      clock: awake,
      jobs: [
        job('taken', async (context) => {
          paused.open();
          expect(await first).toBe('lost');
          return write(context, 'taken-b');
        }),
      ],
    });
    first = a.runNow('taken', slot(1));
    await begun.opened;
    awake.advance(31);
    expect(await b.runNow('taken', slot(4))).toBe('done');
    expect([await countWritten('taken-a'), await countWritten('taken-b')]).toEqual([0, 1]);
  });

  it('cannot write, and does not extend its lease, after the lease has expired, even if no other run took it', async () => {
    const clock = new SteppingClock();
    const a = await startReplica(database, {
      holder: 'a',
      clock,
      jobs: [
        job('expired', async (context) => {
          clock.step(31);
          clock.advance(10);
          await expect.poll(() => context.signal.aborted).toBe(true);
          return write(context, 'expired');
        }),
      ],
    });
    expect(await a.runNow('expired', slot(1))).toBe('failed');
    expect(await countWritten('expired')).toBe(0);
    expect((await readJob(database, 'expired')).last_error).toContain('LeaseLost');
  });

  it('cannot lose its job between the fence and the commit', async () => {
    const clock = new FakeClock();
    const later = new FakeClock();
    let attempt: RunOutcome | undefined;
    const jobs = [job('held', async () => 0)];
    const b = await startReplica(database, { holder: 'b', clock: later, jobs });
    const a = await startReplica(database, {
      holder: 'a',
      clock,
      jobs: [
        job('held', (context) =>
          withTransaction(database.db, async (tx) => {
            await context.fence(tx);
            later.advance(3600);
            attempt = await b.runNow('held', slot(400));
            return 1;
          }),
        ),
      ],
    });
    expect(await a.runNow('held', slot(1))).toBe('done');
    expect(attempt).toBe('busy');
  });
});
