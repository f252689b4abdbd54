import { expect, it } from 'vitest';
import { createBase } from '../../src/compose/base.ts';
import { openDatabase } from '../../src/db/database.ts';
import { createLog } from '../../src/platform/log.ts';
import { testConfig } from '../support/broker.ts';
import { createTestDatabase } from '../support/test-database.ts';

it.each([
  [true, 'force_generic_plan'],
  [false, 'auto'],
])('connections that keep plans (%s) plan a prepared statement as %s, each from its first one on', async (keepPlans, mode) => {
  const { url } = await createTestDatabase();
  const log = createLog('silent');
  const { pool, close } = openDatabase({ url, log, maxConnections: 2, applicationName: 't', keepPlans });
  const modes = await Promise.all(
    [1, 2].map(() => pool.query("select current_setting('plan_cache_mode') as mode, pg_sleep(0.05)")),
  );
  expect(modes.map(({ rows }) => rows[0].mode)).toEqual([mode, mode]);
  await close();
});

it('the statements of minting and introspection keep their plans, unless statements are not prepared', async () => {
  const { url: databaseUrl } = await createTestDatabase();
  for (const [preparedStatements, mode] of [
    [true, 'force_generic_plan'],
    [false, 'auto'],
  ] as const) {
    const config = { ...testConfig(databaseUrl), preparedStatements };
    const { hot, database } = createBase(config, {});
    const { rows } = await hot.pool.query('show plan_cache_mode');
    expect(rows).toEqual([{ plan_cache_mode: mode }]);
    await Promise.all([hot.close(), database.close()]);
  }
});
