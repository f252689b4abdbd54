import { beforeAll, describe, expect, it } from 'vitest';
import { schedules } from '../../src/worker/schedules.ts';
import { asBootstrap, createPerson, startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

let broker: TestBroker;
const clock = new FakeClock();
beforeAll(async () => {
  broker = await startBroker({ clock });
});

describe('GET /v1/jobs', () => {
  it('shows every job, and the outcome of its last run', async () => {
    const empty = await asBootstrap(broker).get('/v1/jobs').expect(200);
    expect(empty.body.items.map((job: { name: string }) => job.name)).toEqual(Object.keys(schedules));
    expect(empty.body.items[0]).toMatchObject({ last_slot: null, last_error: null, running: false });
    await broker.worker.register();
    for (const name of Object.keys(schedules)) {
      expect([name, await broker.worker.runNow(name, clock.now())]).toEqual([name, 'done']);
    }
    await broker.database.db
      .updateTable('jobs')
      .set({ lease_expires_at: new Date(clock.now().getTime() + 1000), last_error: 'SQLSTATE 40001: x' })
      .where('name', '=', 'rotate-keys')
      .execute();
    const { body } = await asBootstrap(broker).get('/v1/jobs').expect(200);
    const now = clock.now().toISOString();
    for (const job of body.items) {
      const odd = job.name === 'rotate-keys';
      expect(job).toMatchObject({
        schedule: schedules[job.name as keyof typeof schedules],
        last_slot: now,
        last_started_at: now,
        last_finished_at: now,
        last_duration_ms: 0,
        last_error: odd ? 'SQLSTATE 40001: x' : null,
        consecutive_failures: 0,
        running: odd,
      });
    }
  });

  it('is for admins', async () => {
    const person = await createPerson(broker, { roles: ['approver', 'auditor'] });
    await person.api.get('/v1/jobs').expect(403);
  });
});
