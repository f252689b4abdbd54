import { sql } from 'kysely';
import pg from 'pg';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Audit, createAudit } from '../../src/audit/audit.ts';
import { withRetries } from '../../src/db/transaction.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { failWrites } from '../oauth/fixtures.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
let clock: FakeClock;
let audit: Audit;

beforeAll(async () => {
  database = await createTestDatabase();
  await database.owner.query(`create table counters (id integer primary key, n integer check (n < 3));
    grant select, update on counters to public`);
});

beforeEach(async () => {
  clock = new FakeClock();
  audit = createAudit({ clock, ids: createIds(clock, createSystemRandom()) });
  await database.owner.query('truncate counters, audit_events; insert into counters values (1, 0), (2, 0)');
});

const event = { type: 'lease.activated', actor: { kind: 'system', id: 'test' } } as const;
const raise = (n: number, where = 'id = 1') =>
  sql`update counters set n = ${n} where ${sql.raw(where)} returning id`;

async function read() {
  const { rows } = await database.owner.query<{ n: number; events: number }>(
    `select (select sum(n) from counters)::integer as n, (select count(*) from audit_events)::integer as events`,
  );
  return rows[0];
}

describe('a change with its audit event in one statement', () => {
  it('is made with its event', async () => {
    expect(await audit.appendWith(database.db, raise(1), event)).toBe(true);
    expect(await read()).toEqual({ n: 1, events: 1 });
  });

  it('has one event, however many rows it changes', async () => {
    expect(await audit.appendWith(database.db, raise(1, 'true'), event)).toBe(true);
    expect(await read()).toEqual({ n: 2, events: 1 });
  });

  it('has no event if it changes no row', async () => {
    expect(await audit.appendWith(database.db, raise(1, 'false'), event)).toBe(false);
    expect(await read()).toEqual({ n: 0, events: 0 });
  });

  it('is not made if its event cannot be written', async () => {
    const undo = await failWrites(database, 'insert on audit_events', "new.type = 'lease.activated'");
    await expect(audit.appendWith(database.db, raise(1), event)).rejects.toMatchObject({
      code: 'unavailable',
    });
    await undo();
    expect(await read()).toEqual({ n: 0, events: 0 });
  });

  it('fails with its own error if it violates a rule: that is no failure of the audit log', async () => {
    await expect(audit.appendWith(database.db, raise(3), event)).rejects.toBeInstanceOf(pg.DatabaseError);
    expect(await read()).toEqual({ n: 0, events: 0 });
  });

  it('is retried as a whole when the partition of its event is missing', async () => {
    const { rows } = await database.owner.query<{ name: string }>(
      "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'audit_events'::regclass",
    );
    for (const { name } of rows) await database.owner.query(`drop table ${name}`);
    // The partitions that are made are those around the time of the database.
    clock.advance((Date.now() - clock.now().getTime()) / 1000);
    const change = () => audit.appendWith(database.db, raise(2), event);
    expect(await withRetries(database.db, change)).toBe(true);
    expect(await read()).toEqual({ n: 2, events: 1 });
  });
});
