import { sql } from 'kysely';
import { beforeAll, describe, expect, it } from 'vitest';
import { ensurePartitions, ensurePartitionsAhead, withPartitions } from '../../src/db/partitions.ts';
import { withTransaction } from '../../src/db/transaction.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

/** Writes a token that expires at `exp` and its event at `at` in one transaction, as minting does. */
function mint(jti: string, { at, exp }: { at: Date; exp: Date }): Promise<void> {
  return withTransaction(database.db, async (tx) => {
    await tx
      .insertInto('tokens')
      .values({ jti, exp, iat: at, agent_id: 'a', agent_epoch: 1, auth_method: 'm', scopes: [], kid: 'k' })
      .execute();
    await sql`insert into audit_events (id, at, type, outcome, actor_kind, actor_id, details)
      values (${jti}, ${at}, 'token.issued', 'success', 'agent', 'a', '{}')`.execute(tx);
  });
}
async function minted(jti: string): Promise<number[]> {
  const { db } = database;
  const tokens = await db.selectFrom('tokens').select('jti').where('jti', '=', jti).execute();
  const events = await db.selectFrom('audit_events').select('id').where('id', '=', jti).execute();
  return [tokens.length, events.length];
}
const later = (clock: FakeClock, seconds: number) => new Date(clock.now().getTime() + seconds * 1000);

describe('partitions', () => {
  it('are created once each for the days and months of a range', async () => {
    const range = [new Date('2026-06-29T23:00:00Z'), new Date('2026-07-01T00:00:00Z')] as const;
    expect(await ensurePartitions(database.db, ...range)).toBe(8);
    expect(await ensurePartitions(database.db, ...range)).toBe(0);
  });

  it('are created once each by twenty concurrent callers', async () => {
    const now = new Date('2026-08-10T12:00:00Z');
    const made = await Promise.all(Array.from({ length: 20 }, () => ensurePartitionsAhead(database.db, now)));
    expect(made.sort((a, b) => b - a)).toEqual([17, ...Array(19).fill(0)]);
  });

  it('accept a row that is written just after midnight with a time just before it', async () => {
    const clock = new FakeClock('2026-11-01T00:00:01Z');
    await ensurePartitionsAhead(database.db, clock.now());
    await mint('midnight', { at: later(clock, -2), exp: later(clock, 300) });
    expect(await minted('midnight')).toEqual([1, 1]);
  });

  it('cannot be created without limit', async () => {
    const range = [new Date('2026-01-01Z'), new Date('2027-01-01Z')] as const;
    await expect(ensurePartitions(database.db, ...range)).rejects.toMatchObject({ code: '22023' });
  });
});

describe('a write whose partition is missing', () => {
  it('creates the partition and is done once', async () => {
    const clock = new FakeClock('2026-12-31T23:59:00Z');
    const times = { at: clock.now(), exp: later(clock, 900) };
    await expect(mint('new-year', times)).rejects.toMatchObject({ code: '23514' });
    await withPartitions(database.db, clock, () => mint('new-year', times));
    expect(await minted('new-year')).toEqual([1, 1]);
  });

  it('succeeds for twenty concurrent callers', async () => {
    const clock = new FakeClock('2027-05-31T23:59:00Z');
    const times = { at: clock.now(), exp: later(clock, 300) };
    const jtis = Array.from({ length: 20 }, (_, i) => `herd-${i}`);
    await Promise.all(jtis.map((jti) => withPartitions(database.db, clock, () => mint(jti, times))));
    for (const jti of jtis) expect(await minted(jti)).toEqual([1, 1]);
  });

  it('is retried only once', async () => {
    const clock = new FakeClock('2027-09-01T12:00:00Z');
    let attempts = 0;
    const write = withPartitions(database.db, clock, () => {
      attempts += 1;
      return mint('far', { at: clock.now(), exp: later(clock, 20 * 24 * 3600) });
    });
    await expect(write).rejects.toMatchObject({ code: '23514' });
    expect(attempts).toBe(2);
  });
});

it('is not retried if it violates a check or fails otherwise', async () => {
  const clock = new FakeClock('2028-01-01T12:00:00Z');
  for (const [statement, code] of [
    ["insert into idempotency_keys values ('c', 'r', 'k', '\\x00', 'o', now())", '23514'],
    ['select 1/0', '22012'],
  ] as const) {
    let attempts = 0;
    const write = withPartitions(database.db, clock, () => {
      attempts += 1;
      return sql.raw(statement).execute(database.db);
    });
    await expect(write).rejects.toMatchObject({ code });
    expect(attempts).toBe(1);
  }
});
