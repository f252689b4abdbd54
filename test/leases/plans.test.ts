import { type CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DB } from '../../src/db/schema.gen.ts';
import { withTransaction } from '../../src/db/transaction.ts';
import * as due from '../../src/leases/store/due.ts';
import { createTargetAndGrant, insertLeases, type Scene, startScene } from './scene.ts';

const waiting = 4_000;
/** The leases for which a statement is executed. */
const some = 20;

let scene: Scene;
let ids: string[];
let connectionId: string;
let pool: pg.Pool;
let db: Kysely<DB>;
let statements: CompiledQuery[] = [];

beforeAll(async () => {
  scene = await startScene();
  const { owner, url } = scene.broker.database;
  const { grant, resource } = await createTargetAndGrant(scene);
  connectionId = resource.connection.id;
  const past = `'${scene.clock.now().toISOString()}'::timestamptz - interval '1 s'`;
  ids = await insertLeases(scene, {
    grant,
    count: waiting,
    change: { expires_at: past, next_attempt_at: past },
  });
  // The planner expects no lease that is being revoked.
  await owner.query('analyze leases');
  await owner.query(
    "update leases set status = 'revoking', revoked_at = now(), revoked_by = 'x', revoke_reason = 'x' where id = any ($1)",
    [ids.slice(0, waiting / 2)],
  );
  // A small table is read as a whole, a large one is not.
  pool = new pg.Pool({ connectionString: url, max: 1, options: '-c enable_seqscan=off' });
  db = new Kysely<DB>({
    dialect: new PostgresDialect({ pool }),
    log: ({ query }) => void statements.push(query),
  });
});

afterAll(async () => {
  await db.destroy();
});

interface Plan {
  'Relation Name'?: string;
  'Actual Rows'?: number;
  'Actual Loops'?: number;
  'Rows Removed by Filter'?: number;
  Plans?: Plan[];
}

/** Returns how many rows of leases a plan read. */
function countRead(plan: Plan): number {
  const { 'Actual Rows': rows = 0, 'Rows Removed by Filter': removed = 0, 'Actual Loops': loops = 1 } = plan;
  const isScan = plan['Relation Name'] === 'leases' && plan.Plans === undefined;
  const below = (plan.Plans ?? []).reduce((sum, each) => sum + countRead(each), 0);
  return (isScan ? (rows + removed) * loops : 0) + below;
}

/** Runs a statement on leases and returns how many rows of leases it reads when it is run again. */
async function rowsReadBy(run: () => Promise<unknown>): Promise<number> {
  statements = [];
  await run();
  const statement = statements.find(({ sql }) => sql.includes('update leases'));
  if (statement === undefined) throw new Error('no statement on leases');
  const client = await pool.connect();
  try {
    await client.query('begin');
    const text = `explain (analyze, format json) ${statement.sql}`;
    const { rows } = await client.query(text, [...statement.parameters]);
    return countRead(rows[0]['QUERY PLAN'][0].Plan);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

const attempts = () => ids.slice(0, some).map((id) => ({ id, attempts: 1 }));
const unchanged = { accessDisabledAt: null, cleanedUpAt: null, ownedObjects: null, isRevoked: false };

it.each<[string, () => Promise<unknown>]>([
  [
    'records attempts',
    () =>
      withTransaction(db, (tx) =>
        due.recordAttempts(
          tx,
          attempts().map((each) => ({ ...each, ...unchanged, nextAttemptAt: scene.clock.now(), error: 'x' })),
        ),
      ),
  ],
  ['extends claims', () => due.extendClaims(db, attempts(), scene.clock.now())],
  [
    'claims leases that are retried',
    () =>
      withTransaction(db, (tx) => {
        const now = scene.clock.now();
        const queue = { connectionId, phase: 'disable', turn: 'again' } as const;
        return due.claimDue(tx, { ...queue, now, until: now, limit: some, by: 'x' });
      }),
  ],
  [
    'claims leases that were not tried',
    () =>
      withTransaction(db, (tx) => {
        const now = scene.clock.now();
        const queue = { connectionId, phase: 'disable', turn: 'first' } as const;
        return due.claimDue(tx, { ...queue, now, until: now, limit: some, by: 'x' });
      }),
  ],
])('a statement that %s reads no other leases that wait', async (_what, run) => {
  expect(await rowsReadBy(run)).toBeLessThanOrEqual(4 * some);
});

it('leases that have expired need no look at their grants', async () => {
  const at = scene.clock.now();
  const read = rowsReadBy(() =>
    withTransaction(db, (tx) => due.revokeUnderEndedGrants(tx, { at, by: 'x', reason: 'x' }, 1_000)),
  );
  expect(await read).toBeLessThanOrEqual(some);
});
