import { beforeAll, describe, expect, it } from 'vitest';
import { excessPowers } from '../../src/db/application-role.ts';
import { openDatabase } from '../../src/db/database.ts';
import { createLog } from '../../src/platform/log.ts';
import { startBroker } from '../support/broker.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

async function powersOf(url: string): Promise<string[]> {
  const login = openDatabase({ url, log: createLog('silent'), maxConnections: 1, applicationName: 'test' });
  try {
    return await excessPowers(login.db);
  } finally {
    await login.close();
  }
}

describe('the application login', () => {
  it('has no power that it must not have', async () => {
    expect(await powersOf(database.url)).toEqual([]);
  });

  it('is told from the owner, and a broker does not start as the owner', async () => {
    expect(await powersOf(database.ownerUrl)).toEqual(
      expect.arrayContaining(['may delete audit_events', 'owns the table audit_events']),
    );
    await expect(startBroker({ database: { ...database, url: database.ownerUrl } })).rejects.toMatchObject({
      detail: expect.stringContaining('DATABASE_URL must not log in as the owner'),
    });
  });

  it('is noticed when somebody grants it more later', async () => {
    const role = new URL(database.url).username;
    await database.owner.query(`grant update on audit_events to ${role}`);
    expect(await powersOf(database.url)).toEqual(['may update audit_events']);
    await database.owner.query(`revoke update on audit_events from ${role}`);
  });

  it.each([
    'update audit_events set type = type',
    'delete from audit_events',
    'truncate audit_events',
    'drop table grants',
  ])('cannot: %s', async (statement) => {
    await expect(database.pool.query(statement)).rejects.toMatchObject({ code: '42501' });
  });
});
