import { sql } from 'kysely';
import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { isOutage, sqlStateOf, violates } from '../../src/db/sqlstate.ts';
import { withTransaction } from '../../src/db/transaction.ts';
import { BrokerError, refuse } from '../../src/errors.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

const job = (name: string) => ({ name });
const jobs = async () =>
  (await database.db.selectFrom('jobs').select('name').orderBy('name').execute()).map((row) => row.name);

describe('withTransaction', () => {
  it('commits what was done before a refusal, then throws its error', async () => {
    const refused = withTransaction(database.db, async (tx) => {
      await tx.insertInto('jobs').values(job('kept')).execute();
      return refuse('forbidden');
    });
    await expect(refused).rejects.toMatchObject({ code: 'forbidden' });
    expect(await jobs()).toContain('kept');
  });

  it('rolls everything back when an exception is thrown, even a broker error', async () => {
    const failed = withTransaction(database.db, async (tx) => {
      await tx.insertInto('jobs').values(job('lost')).execute();
      throw new BrokerError('forbidden');
    });
    await expect(failed).rejects.toMatchObject({ code: 'forbidden' });
    expect(await jobs()).not.toContain('lost');
  });

  it('retries a deadlock victim until both transactions have committed', async () => {
    await database.db
      .insertInto('jobs')
      .values([job('left'), job('right')])
      .execute();
    let attempts = 0;
    let holders = 0;
    let bothHold: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      bothHold = resolve;
    });
    let commit: () => void = () => {};
    const oneCommitted = new Promise<void>((resolve) => {
      commit = resolve;
    });
    const raise = async (first: string, second: string) => {
      await withTransaction(database.db, async (tx) => {
        attempts += 1;
        // Otherwise the victim may lock its first row again before the other transaction, which waits for that row,
        // has woken up.
        if (attempts > 2) await oneCommitted;
        const lock = (name: string) =>
          tx.updateTable('jobs').set({ fencing: sql`fencing + 1` }).where('name', '=', name).execute();
        await lock(first);
        holders += 1;
        if (holders === 2) bothHold();
        await held;
        await lock(second);
      });
      commit();
    };
    await Promise.all([raise('left', 'right'), raise('right', 'left')]);
    expect(attempts).toBe(3);
    const rows = await database.db
      .selectFrom('jobs')
      .select('fencing')
      .where('name', 'in', ['left', 'right'])
      .execute();
    expect(rows.map((row) => row.fencing)).toEqual([2, 2]);
  });

  it('gives up after five attempts, and retries no other error', async () => {
    for (const [state, expected] of [
      ['40001', 5],
      ['40P01', 5],
      ['22012', 1],
    ] as const) {
      let attempts = 0;
      const failing = withTransaction(database.db, async (tx) => {
        attempts += 1;
        await sql.raw(`do $$ begin raise exception 'x' using errcode = '${state}'; end $$`).execute(tx);
      });
      await expect(failing).rejects.toMatchObject({ code: state });
      expect(attempts).toBe(expected);
    }
  });

  it('distinguishes an outage from a mistake', async () => {
    const failure = (statement: string) =>
      sql
        .raw(statement)
        .execute(database.db)
        .catch((error: unknown) => error);
    const mistake = await failure('select 1/0');
    expect([sqlStateOf(mistake), isOutage(mistake)]).toEqual(['22012', false]);
    const victim = new pg.Client({ connectionString: database.url });
    victim.on('error', () => {});
    await victim.connect();
    const ended = await victim
      .query('select pg_terminate_backend(pg_backend_pid())')
      .catch((error: unknown) => error);
    expect(isOutage(ended)).toBe(true);
    expect(isOutage(Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }))).toBe(true);
    expect(isOutage(new Error('Connection terminated unexpectedly'))).toBe(true);
    expect(isOutage(new Error('other'))).toBe(false);
  });
});

describe('violates', () => {
  it('identifies the violated constraint', async () => {
    const twice = database.db
      .insertInto('jobs')
      .values([job('same'), job('same')])
      .execute();
    const error = await twice.catch((caught: unknown) => caught);
    expect(violates(error, 'jobs_pkey')).toBe(true);
    expect(violates(error, 'other')).toBe(false);
    expect(violates(new Error('x'), 'jobs_pkey')).toBe(false);
  });
});

describe('connections', () => {
  it('have timeouts for statements, locks and idle transactions', async () => {
    const show = async (name: string) => (await database.pool.query(`show ${name}`)).rows[0]?.[name];
    expect(await show('statement_timeout')).toBe('10s');
    expect(await show('lock_timeout')).toBe('5s');
    expect(await show('idle_in_transaction_session_timeout')).toBe('15s');
    expect(await show('synchronous_commit')).toBe('on');
  });
});
