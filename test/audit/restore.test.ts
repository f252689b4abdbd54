import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { continueAuditOrder } from '../../src/audit/store.ts';
import { createJobs } from '../../src/worker/jobs.ts';
import {
  type Api,
  asBootstrap,
  createAgent,
  createPerson,
  startBroker,
  type TestBroker,
} from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';

/**
 * After a dump and a restore into another cluster, events keep their positions, while the new cluster counts its
 * transactions from a lower number. These tests move the events up instead, which has the same effect.
 */
const ahead = 1_000_000;
const clock = new FakeClock();
let broker: TestBroker;
let admin: Api;

beforeAll(async () => {
  broker = await startBroker({ clock });
  admin = asBootstrap(broker);
  for (let i = 0; i < 3; i += 1) await createPerson(broker);
});

async function stored(): Promise<string[]> {
  const { rows } = await broker.database.owner.query('select id from audit_events order by tx, id');
  return rows.map(({ id }) => id);
}

async function page(query: string): Promise<{ ids: string[]; next: string | null }> {
  const { body } = await admin.get(`/v1/audit-events?${query}`).expect(200);
  return { ids: body.items.map(({ id }: { id: string }) => id), next: body.next_cursor };
}

/** Returns every event that is served, in pages of three, from the beginning or after `cursor`. */
async function readAll(cursor: string | null = null): Promise<string[]> {
  const seen: string[] = [];
  for (let next = cursor, first = true; first || next !== null; first = false) {
    const read = await page(`limit=3${next === null ? '' : `&cursor=${next}`}`);
    seen.push(...read.ids);
    next = read.next;
  }
  return seen;
}

/** Does the same as `readAll`, once all events are older than every running transaction, so that they are served. */
const readWhole = () =>
  eventually(async () => {
    const seen = await readAll();
    expect(seen).toEqual(await stored());
    return seen;
  });

const restore = () => broker.database.owner.query(`update audit_events set tx = tx + ${ahead}`);

describe('after a restore into another cluster', () => {
  it('a start serves all old events, then the new ones in order, and skips none', async () => {
    const old = await readWhole();
    await restore();
    expect(await readAll()).toEqual([]);
    await startBroker({ clock, database: broker.database });
    expect(await readAll()).toEqual(old);
    const { next } = await page(`limit=${old.length - 2}`);
    await createPerson(broker, { name: 'later' });
    const whole = await readWhole();
    expect(whole.slice(0, old.length)).toEqual(old);
    expect(whole).toHaveLength(old.length + 2);
    expect(await readAll(next)).toEqual(whole.slice(old.length - 2));
  });

  it('a running broker appends its events after the existing ones as soon as another start, or a job, has moved the order', async () => {
    const agent = await createAgent(broker);
    await agent.token().expect(200);
    const { db } = broker.database;
    const none = { expireDue: async () => 0, lapseDue: async () => 0 };
    const jobs = createJobs({
      db,
      grants: none,
      feeds: { catchUp: async () => 0 },
      keys: { rotateDue: async () => 0 },
      targets: {
        testDue: async () => 0,
        reconcile: async () => 0,
        cleanUp: async () => 0,
        rotatePasswords: async () => 0,
      },
    });
    const job = jobs.find(({ name }) => name === 'make-partitions');
    for (let i = 0; i < 2; i += 1) {
      const old = await readWhole();
      await restore();
      const now = (): Date => clock.now();
      await job?.run({ slot: now(), now, fence: async () => {}, signal: new AbortController().signal });
      // The mint statement was prepared with the old numbers.
      await agent.token().expect(200);
      const whole = await readWhole();
      expect(whole.slice(0, old.length)).toEqual(old);
      expect(whole).toHaveLength(old.length + 1);
    }
  });

  it('moves the order once for twenty concurrent callers, and never without need', async () => {
    const { db } = broker.database;
    expect(await continueAuditOrder(db)).toBe(false);
    await restore();
    const answers = await Promise.all(Array.from({ length: 20 }, () => continueAuditOrder(db)));
    expect(answers.filter((had) => had)).toHaveLength(1);
    await createPerson(broker);
    expect(await continueAuditOrder(db)).toBe(false);
  });

  it('waits for transactions that use the old numbers, so that no reader passes their events', async () => {
    const { database } = broker;
    const slow = new pg.Client({ connectionString: database.url });
    await slow.connect();
    await readWhole();
    await slow.query('begin');
    await slow.query(`insert into audit_events (id, at, type, outcome, actor_kind, actor_id, details)
      values ('evt_slow', '2026-03-02T10:00:00Z', 'admin.created', 'success', 'system', 'test', '{}')`);
    await restore();
    const continued = continueAuditOrder(database.db);
    await eventually(async () => {
      const { rows } = await database.owner.query(
        "select 1 from pg_locks where not granted and relation = 'audit_events'::regclass",
      );
      expect(rows).toHaveLength(1);
    });
    await slow.query('commit');
    await slow.end();
    expect(await continued).toBe(true);
    await createPerson(broker);
    expect(await readWhole()).toContain('evt_slow');
  });

  it('of the data without the definitions, the order continues from the restored rows', async () => {
    const old = await readWhole();
    const { owner, db } = broker.database;
    await owner.query(
      `update audit_order set tx_offset = ${ahead}; update audit_events set tx = tx + ${ahead}`,
    );
    expect(await continueAuditOrder(db)).toBe(true);
    await createPerson(broker);
    expect((await readWhole()).slice(0, old.length)).toEqual(old);
    expect(await continueAuditOrder(db)).toBe(false);
  });
});

it('the application login can neither choose the position of an event nor move the order', async () => {
  const { pool } = broker.database;
  const insert = `insert into audit_events (id, at, tx, type, outcome, actor_kind, actor_id, details)
    values ('evt_x', '2026-03-02T10:00:00Z', 9000000000, 'admin.created', 'success', 'system', 'test', '{}')`;
  for (const statement of [insert, 'update audit_order set tx_offset = 0']) {
    await expect(pool.query(statement)).rejects.toMatchObject({ code: '42501' });
  }
});
