import { sql } from 'kysely';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { withTransaction } from '../../src/db/transaction.ts';
import { createGrantSweep } from '../../src/grants/sweep/service.ts';
import { forgetEndedEpochs, listEndedEpochs } from '../../src/grants/sweep/store.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { countReads } from '../requests/read-counter.ts';
import {
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  readAtOnce,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { grantEndingsOn } from '../support/grant-endings.ts';
import { type Copies, insertCopies } from './copies.ts';

/** The number of grants in one transaction. */
const batchRows = 100;
const clock = new FakeClock();
let broker: TestBroker;
let agent: TestAgent;
let resource: { id: string; identifier: string };
let template: string;

beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, readAtOnce);
});
beforeEach(async () => {
  await broker.database.owner.query('delete from grants; delete from audit_events; delete from ended_epochs');
  resource = await createResource(broker);
  agent = await createAgent(broker);
  template = await request();
});

async function request(): Promise<string> {
  const made = await (await agent.api()).post('/v1/grants', grantRequest(resource.identifier)).expect(201);
  return made.body.id;
}

const owner = async (text: string, values: unknown[] = []) =>
  (await broker.database.owner.query(text, values)).rows;
const copy = (count: number, copies: Pick<Copies, 'status' | 'end'> & { template?: string }): Promise<void> =>
  insertCopies(broker.database.owner, { template, ...copies, count });
const soon = "'2026-03-02T11:00:00Z'::timestamptz";
const remaining = async (): Promise<string[]> =>
  (await owner('select subject_id from ended_epochs order by 1')).map((row) => row.subject_id);

/** Counts the ended grants by status, and their events. */
const countEnds = async () =>
  owner(
    `select g.status, count(distinct g.id)::integer as grants, count(e.id)::integer as events
       from grants g left join audit_events e on e.grant_id = g.id and e.type = 'grant.' || g.status
      where g.status not in ('active', 'pending') group by 1 order by 1`,
  );
const all = (status: string, count: number) => ({ status, grants: count, events: count });
const ids = createIds(clock, createSystemRandom());
const sweepOf = ({
  db = broker.database.db,
  signal = new AbortController().signal,
  fence = async (): Promise<void> => {},
} = {}) =>
  createGrantSweep({ db, ids, clock, grantEndings: grantEndingsOn({ db, ids, clock }) }).expireDue(
    fence,
    signal,
  );

/** Raises epochs in the ways that settle nothing at once: `hallpass end-all`, or a replica of the previous version. */
const raiseAgent = () =>
  owner('update agents set epoch = epoch + 1, updated_at = $2 where id = $1', [agent.id, clock.now()]);
const raising: Record<string, () => PromiseLike<unknown>> = {
  'an agent whose epoch is raised': raiseAgent,
  'a resource that is deleted': () =>
    owner('update resources set epoch = epoch + 1, deleted_at = $2, updated_at = $2 where id = $1', [
      resource.id,
      clock.now(),
    ]),
};

describe.each(Object.entries(raising))('%s', (_what, raise) => {
  it('has every grant and request written as ended, each with one event, however many batches it takes', async () => {
    await copy(2 * batchRows + 300, { status: 'active', end: soon });
    await copy(batchRows + 200, { status: 'pending', end: soon });
    await raise();
    expect(await remaining()).toHaveLength(1);
    expect(await sweepOf()).toBe(3 * batchRows + 501);
    expect(await countEnds()).toEqual([all('denied', batchRows + 200), all('revoked', 2 * batchRows + 301)]);
    expect(await remaining()).toEqual([]);
    expect(await sweepOf()).toBe(0);
  });

  it('leaves locked grants to the next run, and waits for no lock', async () => {
    await copy(20, { status: 'active', end: soon });
    await raise();
    await owner(`begin`);
    await owner(`select from grants where id like 'grt_copy_7_%' for update`);
    expect(await sweepOf()).toBe(20);
    expect(await remaining()).toHaveLength(1);
    await owner('rollback');
    expect(await sweepOf()).toBe(1);
    expect(await countEnds()).toEqual([all('revoked', 21)]);
    expect(await remaining()).toEqual([]);
  });

  it('leaves the grants expired whose own time was over before, and keeps no work for them', async () => {
    await copy(3, { status: 'active', end: "'2026-03-02T09:00:00Z'::timestamptz" });
    await raise();
    expect(await sweepOf()).toBe(4);
    expect(await countEnds()).toEqual([all('expired', 3), all('revoked', 1)]);
    expect(await remaining()).toEqual([]);
  });

  it('does not delay other due grants when one cannot be written', async () => {
    await copy(3, { status: 'active', end: "'2026-03-02T09:00:00Z'::timestamptz" });
    await raise();
    await owner(`create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$`);
    await owner(
      `create trigger refuse before update on grants for each row when (new.status = 'revoked') execute function refuse()`,
    );
    await expect(sweepOf()).rejects.toThrow('no');
    await owner('drop function refuse cascade');
    expect(await countEnds()).toEqual([all('expired', 3)]);
    expect(await sweepOf()).toBe(1);
  });
});

describe('the sweep of grants that raised epochs have ended', () => {
  it('does not read the open grants of other agents, however many there are', async () => {
    await copy(2_000, { status: 'active', end: soon });
    await owner('analyze grants');
    const other = await createAgent(broker);
    await asBootstrap(broker).post(`/v1/agents/${other.id}/disable`, {}).expect(200);
    const one = await countReads(broker.database.ownerUrl);
    const readRows = (): Promise<number> =>
      one.read(
        "select (seq_tup_read + idx_tup_fetch)::integer as n from pg_stat_user_tables where relname = 'grants'",
      );
    const before = await readRows();
    expect(await sweepOf({ db: one.db })).toBe(0);
    const rows = (await readRows()) - before;
    await one.close();
    expect(rows).toBeLessThan(100);
    expect(await remaining()).toEqual([]);
  });

  it('does not end what was granted after the epoch', async () => {
    await raiseAgent();
    const fresh = await request();
    await copy(10, { status: 'active', end: soon, template: fresh });
    expect(await sweepOf()).toBe(1);
    expect(await countEnds()).toEqual([all('revoked', 1)]);
    expect(await remaining()).toEqual([]);
  });

  it('keeps the work of an epoch that is raised again before the previous one is finished', async () => {
    const switchTo = (action: string) =>
      asBootstrap(broker).post(`/v1/agents/${agent.id}/${action}`, {}).expect(200);
    await switchTo('disable');
    await withTransaction(broker.database.db, async (tx) => {
      const ended = await listEndedEpochs(tx, { kind: 'agent', after: '', limit: 20 });
      expect(ended.map(({ id }) => id)).toEqual([agent.id]);
      await switchTo('enable');
      await switchTo('disable');
      await forgetEndedEpochs(tx, ended);
    });
    expect(await remaining()).toEqual([agent.id]);
  });

  it('ends after the current batch if it is aborted, and continues in the next run', async () => {
    await copy(2 * batchRows, { status: 'active', end: soon });
    await raiseAgent();
    const controller = new AbortController();
    let passed = 0;
    const fence = async (): Promise<void> => {
      passed += 1;
      if (passed === 2) controller.abort();
    };
    expect(await sweepOf({ signal: controller.signal, fence })).toBe(batchRows);
    expect(await sweepOf()).toBe(batchRows + 1);
    expect(await remaining()).toEqual([]);
  });

  it('misses no grant whose request was in progress when its agent was disabled: one waits for the other', async () => {
    // Reads through another session, because within one transaction these statistics do not change.
    const waiting = async () => {
      const { rows } = await sql`select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`.execute(broker.database.db);
      return rows;
    };
    await owner('begin');
    // The point where a request creates its grant, after it has locked its agent.
    await owner('lock table grants in share mode');
    const requested = request();
    await eventually(async () => expect(await waiting()).toHaveLength(1));
    const disabled = asBootstrap(broker).post(`/v1/agents/${agent.id}/disable`, {}).expect(200).then();
    await eventually(async () => expect(await waiting()).toHaveLength(2));
    await owner('rollback');
    await Promise.all([requested, disabled]);
    await sweepOf();
    expect(await countEnds()).toEqual([all('revoked', 2)]);
    expect(await remaining()).toEqual([]);
  });

  it.each([
    // The grant that was copied ends in the same way.
    ['active', 'revoked', 'expire-grants', 4],
    ['pending', 'denied', 'lapse-requests', 3],
  ] as const)('is made up for when the time of a grant is over that it missed: %s becomes %s', async (status, becomes, by, count) => {
    await copy(3, { status, end: "'2026-03-02T10:10:00Z'::timestamptz" });
    await raiseAgent();
    // As if the copies had been created under the old epoch after it was swept, by a replica that does not lock the
    // agent.
    await owner('delete from ended_epochs');
    const later = new FakeClock('2026-03-02T10:10:00Z');
    const deps = { db: broker.database.db, ids, clock: later };
    const sweep = createGrantSweep({ ...deps, grantEndings: grantEndingsOn(deps) });
    const job = { 'expire-grants': sweep.expireDue, 'lapse-requests': sweep.lapseDue }[by];
    expect(await job(async () => {}, new AbortController().signal)).toBe(count);
    const rows = await owner(
      "select distinct status, ended_by, ended_at from grants where id like 'grt_copy%'",
    );
    expect(rows).toEqual([{ status: becomes, ended_by: by, ended_at: clock.now() }]);
    expect(await countEnds()).toEqual([all(becomes, count)]);
  });
});
