import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { auditEventTypes } from '../../src/audit/audit-event.ts';
import { errorTable } from '../../src/errors.ts';
import { createMetrics } from '../../src/operation/metrics.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { startHttpServer } from '../../src/start/http-server.ts';
import { schedules } from '../../src/worker/schedules.ts';
import { scrapeText } from './scrape.ts';

const text = readFileSync(join(import.meta.dirname, '../../docs/operations.md'), 'utf8');

/** Returns every metric name of a scrape, by kind. Those of Node are documented elsewhere. */
async function exposed(): Promise<Map<string, string>> {
  const metrics = createMetrics({
    pools: {},
    readGrants: async () => ({}),
    readSweepLag: async () => 0,
    readEndingLag: async () => 0,
    readKeys: async () => [],
    readFeeds: async () => [],
    readLeases: async () => ({ byStatus: {}, endingLagSeconds: 0, failingTargets: 0 }),
    keySetReadings: () => new Map([['read', 1]]),
  });
  const server = await startHttpServer({ host: '127.0.0.1', port: 0, clock: systemClock });
  server.serve(metrics.listener);
  try {
    const types = [...(await scrapeText(server.port)).matchAll(/^# TYPE (\S+) (\S+)$/gm)];
    return new Map(types.map(([, name = '', type = '']) => [name, type]));
  } finally {
    await server.drain({ graceMs: 0, deadlineMs: 0 });
  }
}

describe('docs/operations.md', () => {
  it('lists every metric of the broker in its table, and no other', async () => {
    const ours = [...(await exposed()).keys()].filter((name) => name.startsWith('hallpass_'));
    const described = [...text.matchAll(/^\| `(hallpass_\w+)` \|/gm)].map(([, name]) => name);
    expect(described.length).toBeGreaterThan(10);
    expect(described.toSorted()).toEqual(ours.toSorted());
  });

  it('alerts only on metrics that exist', async () => {
    const names = await exposed();
    const samples = [...names].flatMap(([name, type]) =>
      type === 'histogram' ? ['bucket', 'sum', 'count'].map((part) => `${name}_${part}`) : [name],
    );
    const used = [...text.matchAll(/expr: '(.*)'/g)].flatMap(([, expr = '']) =>
      [...expr.matchAll(/\b(?:hallpass|nodejs|process)_\w+/g)].map(([name]) => name),
    );
    expect(used.length).toBeGreaterThan(10);
    for (const name of used) expect(samples).toContain(name);
  });

  it('names only jobs, events and error codes that exist', () => {
    const known = new Set<string>([
      ...Object.keys(schedules),
      ...auditEventTypes,
      ...Object.keys(errorTable),
    ]);
    const jobs = [...text.matchAll(/`((?:expire|lapse|rotate|read|make|drop)-[a-z-]+)`/g)];
    const events = [...text.matchAll(/`([a-z_]+\.[a-z_]+)`/g)].filter(
      ([, name = '']) => !/\.(dump|json|yaml)$|^actor\./.test(name),
    );
    const codes = [...text.matchAll(/`((?:invalid|policy)-[a-z]+)`/g)];
    for (const found of [jobs, events, codes]) {
      expect(found.length).toBeGreaterThan(3);
      for (const [, name = ''] of found) expect(known, name).toContain(name);
    }
  });
});
