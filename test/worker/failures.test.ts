import { beforeAll, describe, expect, it } from 'vitest';
import { withTransaction } from '../../src/db/transaction.ts';
import { createLog } from '../../src/platform/log.ts';
import type { Job } from '../../src/worker/job.ts';
import { runExclusive } from '../../src/worker/run-exclusive.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';
import { readJob, readRuns, startReplica } from './replica.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

const schedule = '*/10 * * * * *';
const start = Date.parse('2026-03-02T10:00:00Z');
const slot = (n: number) => new Date(start + n * 10_000);
const job = (name: string, run: Job['run']): Job => ({ name, schedule, run });

describe('a process that died during a run', () => {
  const dies = (name: string, clock: FakeClock) =>
    withTransaction(database.db, async (tx) => {
      const expires = new Date(clock.now().getTime() + 30_000);
      const row = { name, fencing: 5, holder: 'dead', lease_expires_at: expires, last_slot: slot(1) };
      await tx.insertInto('jobs').values(row).execute();
      await tx
        .insertInto('job_runs')
        .values({ job: name, slot: slot(1), fencing: 5, started_at: clock.now() })
        .execute();
    });

  it('blocks its job until its lease has expired; then the next slot runs, and the lost run counts as a failure', async () => {
    const clock = new FakeClock();
    await dies('died', clock);
    const b = await startReplica(database, {
      holder: 'b',
      clock,
      jobs: [job('died', () => Promise.reject(new Error('failed too')))],
    });
    clock.advance(29);
    expect(await b.runNow('died', slot(2))).toBe('busy');
    clock.advance(1);
    expect(await b.runNow('died', slot(1))).toBe('repeated');
    expect(await b.runNow('died', slot(3))).toBe('failed');
    expect(await readJob(database, 'died')).toMatchObject({
      fencing: 6,
      holder: null,
      consecutive_failures: 2,
    });
  });

  it('does not block its job if its clock was a year ahead', async () => {
    const ahead = new FakeClock('2027-03-02T10:00:00Z');
    await dies('ahead', ahead);
    const clock = new FakeClock();
    const b = await startReplica(database, { holder: 'b', clock, jobs: [job('ahead', async () => 0)] });
    expect(await b.runNow('ahead', slot(2))).toBe('done');
  });
});

describe('a run that fails', () => {
  it('is recorded without secrets, and the next slot runs; a success resets the count of failures', async () => {
    let broken = true;
    const secret = `hpa_${'x'.repeat(43)}`;
    const jobs = [
      job('thrower', async () => {
        if (broken) throw new Error(`cannot use ${secret} ${'because '.repeat(100)}`);
        return 3;
      }),
    ];
    const a = await startReplica(database, { holder: 'a', clock: new FakeClock(), jobs });
    expect(await a.runNow('thrower', slot(1))).toBe('failed');
    expect(await a.runNow('thrower', slot(2))).toBe('failed');
    const failed = await readJob(database, 'thrower');
    expect(failed).toMatchObject({ consecutive_failures: 2, last_rows: null, holder: null });
    expect(failed.last_error).toMatch(/^Error: cannot use \[redacted\] because/);
    expect(failed.last_error?.length).toBeLessThanOrEqual(500);
    expect((await readRuns(database, 'thrower'))[0]).toMatchObject({ rows: null, error: failed.last_error });
    broken = false;
    expect(await a.runNow('thrower', slot(3))).toBe('done');
    const good = { consecutive_failures: 0, last_error: null, last_rows: 3 };
    expect(await readJob(database, 'thrower')).toMatchObject(good);
  });

  it('does not make runExclusive throw, whether the job throws synchronously or the database cannot record the run', async () => {
    const common = {
      clock: new FakeClock(),
      holder: 'a',
      unrecorded: new Map<string, number>(),
      leaseSeconds: 30,
      slot: slot(1),
      observe: () => {},
      log: createLog('silent'),
    };
    const throws = job('sync', () => {
      throw new Error('at once');
    });
    await database.db.insertInto('jobs').values({ name: 'sync' }).execute();
    expect(await runExclusive({ ...common, db: database.db, job: throws })).toBe('failed');
    const refusing = await createTestDatabase();
    await refusing.owner.query('drop table job_runs');
    await refusing.db.insertInto('jobs').values({ name: 'sync' }).execute();
    expect(await runExclusive({ ...common, db: refusing.db, job: throws })).toBe('unavailable');
  });
});

describe('a run whose outcome could not be recorded', () => {
  it('does not block its own replica, and blocks the others until that replica has run the job again', async () => {
    const mine = await createTestDatabase();
    const owner = (text: string) => mine.owner.query(text);
    let interrupt = true;
    const jobs = [
      job('cut', async () => {
        if (interrupt) await owner('alter table job_runs rename to job_runs_away');
        return 0;
      }),
    ];
    const clock = new FakeClock();
    const a = await startReplica(mine, { holder: 'a', clock, jobs });
    const b = await startReplica(mine, { holder: 'b', clock, jobs });
    expect(await a.runNow('cut', slot(1))).toBe('unavailable');
    await owner('alter table job_runs_away rename to job_runs');
    interrupt = false;
    expect(await readJob(mine, 'cut')).toMatchObject({ fencing: 1, holder: 'a' });
    expect(await b.runNow('cut', slot(2))).toBe('busy');
    expect(await a.runNow('cut', slot(2))).toBe('done');
    expect(await readJob(mine, 'cut')).toMatchObject({ fencing: 2, holder: null, consecutive_failures: 0 });
    expect(await b.runNow('cut', slot(3))).toBe('done');
  });

  it('does not let its replica take the lease of a later run, whether that run is its own or that of another replica', async () => {
    const mine = await createTestDatabase();
    const owner = (text: string) => mine.owner.query(text);
    let during = (): Promise<unknown> => owner('alter table job_runs rename to job_runs_away');
    const jobs = [
      job('cut', async () => {
        await during();
        return 0;
      }),
    ];
    const clock = new FakeClock();
    const a = await startReplica(mine, { holder: 'same', clock, jobs });
    const b = await startReplica(mine, { holder: 'same', clock, jobs });
    expect(await a.runNow('cut', slot(1))).toBe('unavailable');
    await owner('alter table job_runs_away rename to job_runs');
    clock.advance(31);
    for (const [n, replica] of [a, b].entries()) {
      const outcomes: unknown[] = [];
      during = async () => {
        outcomes.push(await a.runNow('cut', slot(10 * n + 11)), await b.runNow('cut', slot(10 * n + 12)));
      };
      expect(await replica.runNow('cut', slot(10 * n + 10))).toBe('done');
      expect(outcomes).toEqual(['busy', 'busy']);
    }
  });
});
