import { beforeAll, expect, it } from 'vitest';
import type { AuditEvent } from '../../src/audit/audit-event.ts';
import { createPerson, startBroker, type TestBroker } from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { readMetrics } from '../support/metrics.ts';

const clock = new FakeClock();
const handled: AuditEvent[] = [];
let broker: TestBroker;
beforeAll(async () => {
  const feed = {
    name: 'test',
    startAt: 'now' as const,
    handle: async (_tx: unknown, { events }: { events: readonly AuditEvent[] }) =>
      void handled.push(...events),
  };
  broker = await startBroker({ clock, overrides: { feeds: [feed] } });
  await broker.worker.register();
});

it('a broker delivers the events since its start to its feeds, and shows their lag', async () => {
  const person = await createPerson(broker);
  clock.advance(5);
  const before = await readMetrics(broker.metrics);
  expect(before.get('hallpass_feed_lag_seconds{feed="test"}')).toBe(5);
  expect(before.get('hallpass_feed_gaps{feed="test"}')).toBe(0);
  await eventually(async () => {
    clock.advance(5);
    expect(await broker.worker.runNow('read-feeds', clock.now())).toBe('done');
    expect(handled.map(({ objectId }) => objectId)).toContain(person.id);
  });
  await eventually(async () => {
    clock.advance(5);
    await broker.worker.runNow('read-feeds', clock.now());
    expect((await readMetrics(broker.metrics)).get('hallpass_feed_lag_seconds{feed="test"}')).toBe(0);
  });
  const ids = handled.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});
