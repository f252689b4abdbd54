import { beforeAll, describe, expect, it } from 'vitest';
import { createAudit } from '../../src/audit/audit.ts';
import { systemActor } from '../../src/audit/audit-event.ts';
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

describe('a transaction whose event has no partition', () => {
  it('creates the partition and runs again, so that the worker may be down for weeks', async () => {
    let runs = 0;
    await withTransaction(database.db, async (tx) => {
      runs += 1;
      await audit.append(tx, event);
    });
    expect(runs).toBe(2);
    const { rows } = await database.owner.query('select count(*)::integer as n from audit_events');
    expect(rows).toEqual([{ n: 1 }]);
  });

  it('is not retried for the violation of another constraint', async () => {
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
