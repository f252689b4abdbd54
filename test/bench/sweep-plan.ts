import { type CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import type { DB } from '../../src/db/schema.gen.ts';
import { createGrantSweep } from '../../src/grants/sweep/service.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { grantEndingsOn } from '../support/grant-endings.ts';
import { withClient } from './postgres.ts';

/** Returns the plan of a batch of the job, and what it read: records the statements of one batch as they are run. */
export async function explainBatch(applicationUrl: string): Promise<string> {
  const statements: CompiledQuery[] = [];
  const pool = new pg.Pool({ connectionString: applicationUrl, max: 1 });
  const db = new Kysely<DB>({
    dialect: new PostgresDialect({ pool }),
    log: ({ query }) => void statements.push(query),
  });
  const ids = createIds(systemClock, createSystemRandom());
  const ended = new AbortController();
  // The first transaction is the batch.
  const fence = async (): Promise<void> => ended.abort();
  const deps = { db, ids, clock: systemClock };
  await createGrantSweep({ ...deps, grantEndings: grantEndingsOn(deps) }).expireDue(fence, ended.signal);
  await db.destroy();
  const batch = statements.filter(({ sql }) => sql.includes('update grants')).at(-1);
  if (batch === undefined) throw new Error('the job ran no UPDATE');
  return withClient(applicationUrl, async (client) => {
    await client.query('begin');
    const text = `explain (analyze, buffers, costs off) ${batch.sql}`;
    const { rows } = await client.query<Record<string, string>>(text, [...batch.parameters]);
    await client.query('rollback');
    return rows.map((row) => row['QUERY PLAN']).join('\n');
  });
}
