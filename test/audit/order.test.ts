import { sql } from 'kysely';
import { beforeAll, describe, expect, it } from 'vitest';
import { createAudit } from '../../src/audit/audit.ts';
import { systemActor } from '../../src/audit/audit-event.ts';
import { type AuditFilter, type AuditPosition, listEvents } from '../../src/audit/store.ts';
import type { Tx } from '../../src/db/database.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
  // The events below have low transaction numbers. With this offset they are older than every running transaction.
  await database.owner.query('update audit_order set tx_offset = 1000000');
});

const day = (date: number, time = '00:00:00'): Date =>
  new Date(`2026-03-${String(date).padStart(2, '0')}T${time}Z`);

/** Inserts `count` events, one every `everySeconds` from the first of March, shifted by up to 4 s, and five per transaction. */
function insertEvents(count: number, everySeconds: number) {
  return database.owner.query(
    `insert into audit_events (id, at, tx, type, outcome, actor_kind, actor_id, agent_id, grant_id, details)
     select 'evt_' || lpad(n::text, 8, '0'),
       '2026-03-01T00:00:00Z'::timestamptz + (n * $2::float8 + (n * 7919) % 5) * interval '1 second', 3 + n / 5,
       case n % 10 when 0 then 'grant.requested' else 'token.issued' end, 'success', 'system', 'test',
       'agt_' || n % 7, 'grt_' || n % 50, jsonb_build_object('weight', repeat('x', 200))
       from generate_series(1, $1) n`,
    [count, everySeconds],
  );
}

/** Reads the events that match a filter page by page, and returns their ids. */
async function readAll(filter: AuditFilter, limit: number): Promise<string[]> {
  const seen: string[] = [];
  for (let after: AuditPosition | undefined; ; ) {
    const events = await listEvents(database.db, filter, { limit, after });
    seen.push(...events.map(({ id }) => id));
    after = events.at(-1);
    if (events.length < limit) return seen;
  }
}

async function stored(where: string): Promise<string[]> {
  const { rows } = await database.owner.query(`select id from audit_events where ${where} order by tx, id`);
  return rows.map(({ id }) => id);
}

/** Returns how many rows of the audit log the transaction has read so far. */
async function rowsRead(tx: Tx): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select sum(seq_tup_read + idx_tup_fetch)::integer as n from pg_stat_xact_user_tables
     where relname like 'audit_events_2%'`.execute(tx);
  return rows[0]?.n ?? 0;
}

describe('since and until', () => {
  it('select every event of the period, once and in the order of the log, even if clocks were wrong', async () => {
    await database.owner.query('truncate audit_events');
    await insertEvents(600, 3600);
    // Clocks that were weeks behind and ahead, at both ends and in the middle, and one that stood still for a whole
    // day.
    for (const [n, at] of [
      [1, day(20)],
      [2, day(31)],
      [300, day(1)],
      [301, day(25)],
      [599, day(2)],
      [600, day(12)],
    ] as const) {
      await database.owner.query('update audit_events set at = $2 where id = $1', [
        `evt_${String(n).padStart(8, '0')}`,
        at,
      ]);
    }
    await database.owner.query("update audit_events set at = '2026-03-10Z' where tx between 40 and 44");
    const windows: { since?: Date; until?: Date }[] = [
      { since: day(20) },
      { until: day(2) },
      { since: day(10), until: day(12, '00:00:01') },
      { since: day(9, '23:59:59'), until: day(10, '00:00:01') },
      { since: day(25), until: day(26) },
      { since: day(31) },
      { since: day(12), until: day(11) },
      { since: new Date('2026-02-01Z'), until: new Date('2026-05-01Z') },
    ];
    for (const { since, until } of windows) {
      for (const agentId of [undefined, 'agt_3']) {
        const where = [
          since && `at >= '${since.toISOString()}'`,
          until && `at < '${until.toISOString()}'`,
          agentId && `agent_id = '${agentId}'`,
        ].filter((part) => part !== undefined);
        const expected = await stored(where.join(' and '));
        for (const limit of [1, 7, 1000]) {
          if (limit === 1 && expected.length > 30) continue;
          expect(await readAll({ since, until, agentId }, limit), where.join(' and ')).toEqual(expected);
        }
      }
    }
  });

  it('read only a part of the month for a period of an hour, at any time of the month and with other filters', async () => {
    const { owner, db } = database;
    await owner.query('truncate audit_events');
    await insertEvents(60_000, 40);
    // Does what autovacuum does.
    await owner.query(
      "select brin_summarize_new_values('audit_events_202603_at_tx_idx'); analyze audit_events",
    );
    for (const filter of [
      { since: day(3), until: day(3, '01:00:00') },
      { since: day(15), until: day(15, '01:00:00') },
      { since: day(27), until: day(27, '01:00:00') },
      { since: day(15), until: day(15, '01:00:00'), agentId: 'agt_3' },
      { since: day(15), until: day(15, '01:00:00'), type: 'grant.requested' },
      { since: day(27) },
      { until: day(3) },
    ]) {
      const read = await db.transaction().execute(async (tx) => {
        const before = await rowsRead(tx);
        const events = await listEvents(tx, filter, { limit: 100 });
        expect(events.length).toBeGreaterThan(5);
        return (await rowsRead(tx)) - before;
      });
      expect(read, JSON.stringify(filter)).toBeLessThan(10_000);
    }
  });
});

it('the events of one transaction are read in the order in which they were appended', async () => {
  await database.owner.query('truncate audit_events');
  const clock = new FakeClock();
  const audit = createAudit({ clock, ids: createIds(clock, createSystemRandom()) });
  const numbers = Array.from({ length: 300 }, (_, n) => n);
  await database.db.transaction().execute(async (tx) => {
    for (let from = 0; from < numbers.length; from += 50) {
      const events = numbers.slice(from, from + 50).map((n) => ({
        type: 'token.issued' as const,
        actor: systemActor('test'),
        details: { n },
      }));
      await audit.append(tx, ...events);
    }
  });
  await eventually(async () => {
    const events = await listEvents(database.db, {}, { limit: 1000 });
    expect(events.map(({ details }) => details.n)).toEqual(numbers);
  });
});
