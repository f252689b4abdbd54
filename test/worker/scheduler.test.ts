import { beforeAll, describe, expect, it } from 'vitest';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';
import { gate, readJob, readRuns, startReplica } from './replica.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

const schedule = '*/10 * * * * *';
const slot = new Date('2026-03-02T10:00:10Z');

describe('the scheduler', () => {
  it('creates the rows of its jobs, for any number of replicas that start at once', async () => {
    const jobs = [{ name: 'registered', schedule, run: async () => 0 }];
    const clock = new FakeClock();
    await Promise.all(['a', 'b', 'c', 'd'].map((holder) => startReplica(database, { holder, clock, jobs })));
    expect(await readJob(database, 'registered')).toMatchObject({ fencing: 0, last_slot: null });
  });

  it('attempts every slot between its start and its stop, and none afterwards', async () => {
    const clock = new FakeClock();
    const jobs = [{ name: 'ticking', schedule, run: async () => 0 }];
    const replica = await startReplica(database, { holder: 'a', clock, jobs });
    await replica.start();
    for (let tick = 1; tick <= 3; tick += 1) {
      clock.advance(10);
      await expect.poll(() => replica.reports.length).toBe(tick);
    }
    await replica.stop();
    clock.advance(60);
    expect(replica.reports.map((report) => report.outcome)).toEqual(['done', 'done', 'done']);
    expect((await readRuns(database, 'ticking')).map((run) => run.slot.toISOString())).toEqual([
      '2026-03-02T10:00:10.000Z',
      '2026-03-02T10:00:20.000Z',
      '2026-03-02T10:00:30.000Z',
    ]);
    expect(clock.timers).toBe(0);
  });

  it('stops by aborting current runs and waiting for them to release their leases, and starts no others', async () => {
    const clock = new FakeClock();
    const begun = gate();
    const mayEnd = gate();
    let wasAborted = false;
    const jobs = [
      {
        name: 'stopping',
        schedule,
        async run({ signal }: { signal: AbortSignal }) {
          begun.open();
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
          wasAborted = true;
          await mayEnd.opened;
          return 4;
        },
      },
    ];
    const replica = await startReplica(database, { holder: 'a', clock, jobs });
    await replica.start();
    const run = replica.runNow('stopping', slot);
    await begun.opened;
    let stopped = false;
    const stopping = replica.stop().then(() => {
      stopped = true;
    });
    await expect.poll(() => wasAborted).toBe(true);
    expect(await replica.runNow('stopping', new Date(slot.getTime() + 10_000))).toBe('stopped');
    expect(stopped).toBe(false);
    mayEnd.open();
    await stopping;
    expect(await run).toBe('done');
    expect(await readJob(database, 'stopping')).toMatchObject({
      holder: null,
      lease_expires_at: null,
      last_rows: 4,
    });
    expect(await readRuns(database, 'stopping')).toHaveLength(1);
    expect(clock.timers).toBe(0);
  });

  it('has no timer left if it is stopped before or during its start', async () => {
    const clock = new FakeClock();
    const jobs = [{ name: 'brief', schedule, run: async () => 0 }];
    const replica = await startReplica(database, { holder: 'a', clock, jobs });
    await Promise.all([replica.start(), replica.stop()]);
    await replica.start();
    expect(clock.timers).toBe(0);
  });

  it('refuses unknown jobs and invalid schedules', async () => {
    const clock = new FakeClock();
    const jobs = [{ name: 'odd', schedule: 'every day', run: async () => 0 }];
    const replica = await startReplica(database, { holder: 'a', clock, jobs });
    await expect(replica.runNow('other', slot)).rejects.toThrow('unknown job other');
    await expect(replica.start()).rejects.toThrow();
  });
});
