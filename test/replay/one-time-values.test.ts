import { beforeAll, describe, expect, it } from 'vitest';
import { withPartitions } from '../../src/db/partitions.ts';
import { createTurns } from '../../src/platform/turns.ts';
import { createOneTimeValues, type OneTimeValues } from '../../src/replay/one-time-values.ts';
import { type OneTimeValue, useValues } from '../../src/replay/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
let replicas: OneTimeValues[];
const clock = new FakeClock();
beforeAll(async () => {
  database = await createTestDatabase();
  const hot = { pool: database.pool, prepared: true };
  replicas = [1, 2].map(() =>
    createOneTimeValues({
      hot,
      turns: createTurns(clock),
      withPartitions: (work) => withPartitions(database.db, clock, work),
    }),
  );
});

const exp = Math.floor(clock.now().getTime() / 1000) + 60;
const value = (jti: string, change: Partial<OneTimeValue> = {}): OneTimeValue => ({
  purpose: 'client_assertion',
  issuer: 'agt_1',
  jti,
  exp,
  ...change,
});
const use = (one: OneTimeValue, replica = 0): Promise<boolean> =>
  (replicas[replica] as OneTimeValues).use(one);

describe('a one-time value', () => {
  it('is used once for each purpose, issuer, jti and expiry', async () => {
    expect(await use(value('a'))).toBe(true);
    expect(await use(value('a'))).toBe(false);
    expect(await use(value('a'), 1)).toBe(false);
    for (const change of [{ purpose: 'dpop_proof' }, { issuer: 'agt_2' }, { jti: 'A' }, { exp: exp + 1 }]) {
      expect(await use(value('a', change as Partial<OneTimeValue>))).toBe(true);
    }
  });

  it('is used once by two hundred concurrent calls on two replicas', async () => {
    const uses = Array.from({ length: 200 }, (_, n) => use(value('race'), n % 2));
    expect((await Promise.all(uses)).filter(Boolean)).toHaveLength(1);
  });

  it('is used once when two statements use many of them in opposite order', async () => {
    const hot = { pool: database.pool, prepared: false };
    for (let round = 0; round < 10; round += 1) {
      const values = Array.from({ length: 200 }, (_, n) => value(`${round}-${n}`));
      const used = await Promise.all([useValues(hot, values), useValues(hot, [...values].reverse())]);
      const [first = [], second = []] = used;
      second.reverse();
      expect(values.every((_, n) => first[n] !== second[n])).toBe(true);
    }
  });

  it('that occurs twice in one statement is used by one of the calls', async () => {
    const hot = { pool: database.pool, prepared: false };
    expect(await useValues(hot, [value('twice'), value('twice'), value('other')])).toEqual([
      true,
      false,
      true,
    ]);
  });

  it('is deleted with its partition, long after its expiry, and not because of a wrong clock', async () => {
    const old = Date.parse('2020-01-01T12:00:00Z') / 1000;
    await database.owner.query("select ensure_partitions('2020-01-01T00:00:00Z', '2020-01-01T00:00:00Z')");
    expect(await use(value('old', { exp: old }))).toBe(true);
    expect(await use(value('new'))).toBe(true);
    const left = async () =>
      (await database.owner.query("select jti from used_values where jti in ('old', 'new') order by 1")).rows;
    await database.pool.query("select drop_partitions('2020-01-02T23:00:00Z')");
    expect(await left()).toEqual([{ jti: 'new' }, { jti: 'old' }]);
    await database.pool.query("select drop_partitions('2020-01-03T00:00:01Z')");
    expect(await left()).toEqual([{ jti: 'new' }]);
    await database.pool.query("select drop_partitions('2099-01-01Z')");
  });

  it('stays used: the application role cannot delete it', async () => {
    for (const statement of [
      'delete from used_values',
      'update used_values set jti = jti',
      'truncate used_values',
    ])
      await expect(database.pool.query(statement)).rejects.toMatchObject({ code: '42501' });
  });
});
