import { beforeAll, describe, expect, it } from 'vitest';
import { systemActor } from '../../src/audit/audit-event.ts';
import { createAudit } from '../../src/audit/store.ts';
import { withTransaction } from '../../src/db/transaction.ts';
import { systemClock as clock } from '../../src/platform/clock.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

const audit = createAudit({ clock, ids: createIds(clock, createSystemRandom()) });
const event = { type: 'admin.created' as const, actor: systemActor('test') };

describe('a transaction that finds no partition for its event', () => {
  it('makes it and runs once more, so that the worker may be away for weeks', async () => {
    let runs = 0;
    await withTransaction(database.db, async (tx) => {
      runs += 1;
      await audit.append(tx, event);
    });
    expect(runs).toBe(2);
    const { rows } = await database.owner.query('select count(*)::integer as n from audit_events');
    expect(rows).toEqual([{ n: 1 }]);
  });

  it('is not tried again for another broken constraint', async () => {
    let runs = 0;
    const refused = withTransaction(database.db, async (tx) => {
      runs += 1;
      await tx.insertInto('jobs').values({ name: 'x', last_rows: 1 }).execute();
      await tx.insertInto('bootstrap').values({ singleton: false, admin_id: 'x', at: clock.now() }).execute();
    });
    await expect(refused).rejects.toMatchObject({ code: '23514' });
    expect(runs).toBe(1);
  });
});
