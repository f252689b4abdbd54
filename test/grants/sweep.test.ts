import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createGrantSweep } from '../../src/grants/sweep/service.ts';
import { addSeconds } from '../../src/platform/clock.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { countReads } from '../requests/read-counter.ts';
import {
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  readAtOnce,
  startBroker,
  type TestBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { grantEndingsOn } from '../support/grant-endings.ts';
import { type Copies, insertCopies } from './copies.ts';

/** The number of grants in one transaction. */
const batchRows = 250;
const clock = new FakeClock();
let broker: TestBroker;
let template: string;

beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, readAtOnce);
  const resource = await createResource(broker);
  const agent = await createAgent(broker);
  const made = await (await agent.api()).post('/v1/grants', grantRequest(resource.identifier)).expect(201);
  template = made.body.id;
});
beforeEach(async () => {
  await broker.database.owner.query("delete from audit_events; delete from grants where id like 'grt_copy%'");
});

const insertGrants = (count: number, copies: Pick<Copies, 'status' | 'end'>): Promise<void> =>
  insertCopies(broker.database.owner, { ...copies, template, count });

const at = (secondsAgo: number): string =>
  `'${addSeconds(clock.now(), -secondsAgo).toISOString()}'::timestamptz`;

/** Counts the copies in a state, and the events of a type with the number of copies that they are about. */
async function read(status: string) {
  const { rows } = await broker.database.owner.query<Record<string, string>>(
    `select (select count(*) from grants where id like 'grt_copy%' and status = $1 and ended_by is not null
               and ended_at = case status when 'lapsed' then lapses_at else expires_at end) as ended,
            count(*) as events, count(distinct grant_id) as about, count(distinct id) as ids
       from audit_events where type = 'grant.' || $1 and grant_id like 'grt_copy%' and actor_kind = 'system'`,
    [status],
  );
  return Object.fromEntries(Object.entries(rows[0] ?? {}).map(([name, count]) => [name, Number(count)]));
}

const ids = createIds(clock, createSystemRandom());
const never = new AbortController().signal;
const sweepOf = (db = broker.database.db) =>
  createGrantSweep({ db, ids, clock, grantEndings: grantEndingsOn({ db, ids, clock }) });
const all = (count: number) => ({ ended: count, events: count, about: count, ids: count });

describe('the sweep', () => {
  it('ends every grant that is due, each with one event, however many batches it takes', async () => {
    await insertGrants(batchRows + 300, {
      status: 'active',
      end: `${at(50)} + n * interval '1 millisecond'`,
    });
    // More grants than a batch takes that ended at the same instant, and one grant that ends a moment later.
    await insertGrants(batchRows + 200, { status: 'active', end: at(10) });
    await insertGrants(3, { status: 'active', end: at(-1) });
    expect(await sweepOf().expireDue(async () => {}, never)).toBe(2 * batchRows + 500);
    expect(await read('expired')).toEqual(all(2 * batchRows + 500));
    expect(await sweepOf().expireDue(async () => {}, never)).toBe(0);
  });

  it('lapses every request that is due, each with one event', async () => {
    await insertGrants(batchRows + 1, { status: 'pending', end: at(1) });
    expect(await sweepOf().lapseDue(async () => {}, never)).toBe(batchRows + 1);
    expect(await read('lapsed')).toEqual(all(batchRows + 1));
  });

  it('leaves locked grants to the next run, and waits for no lock', async () => {
    await insertGrants(20, { status: 'active', end: `${at(50)} + n * interval '1 second'` });
    const { owner } = broker.database;
    await owner.query(`begin; select from grants where id like 'grt_copy_7_%' for update`);
    expect(await sweepOf().expireDue(async () => {}, never)).toBe(19);
    await owner.query('rollback');
    expect(await sweepOf().expireDue(async () => {}, never)).toBe(1);
    expect(await read('expired')).toEqual(all(20));
  });

  it('checks the fence in each transaction: after it has lost the job it writes nothing', async () => {
    await insertGrants(3 * batchRows, { status: 'active', end: `${at(50)} + n * interval '1 millisecond'` });
    let passed = 0;
    const fence = async (): Promise<void> => {
      passed += 1;
      if (passed > 1) throw new Error('lost');
    };
    await expect(sweepOf().expireDue(fence, never)).rejects.toThrow('lost');
    expect(await read('expired')).toEqual(all(batchRows));
  });

  it('ends nothing whose event cannot be written', async () => {
    await insertGrants(2, { status: 'active', end: at(1) });
    await broker.database.owner.query(
      'alter table audit_events add constraint broken check (id is null) not valid',
    );
    await expect(sweepOf().expireDue(async () => {}, never)).rejects.toThrow();
    await broker.database.owner.query('alter table audit_events drop constraint broken');
    expect(await read('expired')).toEqual(all(0));
  });

  it('ends after the current batch if it is aborted', async () => {
    await insertGrants(2 * batchRows, { status: 'active', end: at(1) });
    const controller = new AbortController();
    let passed = 0;
    const fence = async (): Promise<void> => {
      passed += 1;
      if (passed === 1) controller.abort();
    };
    expect(await sweepOf().expireDue(fence, controller.signal)).toBe(batchRows);
    expect(await read('expired')).toEqual(all(batchRows));
  });

  it('does not read again what its earlier batches ended, even while an old transaction keeps the dead rows', async () => {
    const batches = 6;
    await insertGrants(batches * batchRows, {
      status: 'active',
      end: `${at(50)} + n * interval '1 millisecond'`,
    });
    const { owner, ownerUrl } = broker.database;
    await owner.query('vacuum analyze grants');
    await owner.query('begin isolation level repeatable read; select from grants limit 1');
    const one = await countReads(ownerUrl);
    const readEntries = (): Promise<number> =>
      one.read(
        "select sum(idx_tup_read)::integer as n from pg_stat_user_indexes where indexrelname = 'grants_due'",
      );
    const before = await readEntries();
    expect(await sweepOf(one.db).expireDue(async () => {}, never)).toBe(batches * batchRows);
    const entries = (await readEntries()) - before;
    await one.close();
    await owner.query('rollback');
    expect(entries).toBeGreaterThanOrEqual(batches * batchRows);
    expect(entries).toBeLessThan(2 * batches * batchRows);
  });
});
