import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import type { Log } from '../platform/log.ts';
import type { DB } from './schema.gen.ts';

/** A database handle, for functions that need no atomicity. */
export type Db = Kysely<DB>;
/** A handle in a transaction, for functions that need atomicity. */
export type Tx = Transaction<DB>;

export interface DatabaseOptions {
  /** A postgres:// URL. */
  url: string;
  log: Log;
  maxConnections: number;
  /** As shown in pg_stat_activity. */
  applicationName: string;
  statementTimeoutMs?: number;
  /**
   * Whether prepared statements always use a generic plan, which is planned only once, instead of a plan for each set
   * of values.
   */
  keepPlans?: boolean;
}

export interface Database {
  db: Db;
  /** The pool under `db`, for the few statements that use pg directly. */
  pool: pg.Pool;
  close(): Promise<void>;
}

// Invariant: 64-bit counters (epochs, versions) are far below 2^53, so they fit into a number.
const int8 = 20;
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === int8 && format !== 'binary'
      ? (text: string) => Number(text)
      : pg.types.getTypeParser(oid, format)) as pg.CustomTypesConfig['getTypeParser'],
};

/** Sets the plan mode by a statement, because a connection pooler may refuse an unknown start-up parameter. */
async function keepPlans(client: pg.ClientBase): Promise<void> {
  await client.query('set plan_cache_mode = force_generic_plan');
}

/** Opens a pool. Every connection has timeouts, so that no statement waits without limit. */
export function openDatabase(options: DatabaseOptions): Database {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.maxConnections,
    application_name: options.applicationName,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 60_000,
    statement_timeout: options.statementTimeoutMs ?? 10_000,
    lock_timeout: 5_000,
    idle_in_transaction_session_timeout: 15_000,
    // eslint-disable-next-line @typescript-eslint/no-misused-promises -- pg-pool awaits the promise of onConnect, which its types declare as void
    ...(options.keepPlans === true ? { onConnect: keepPlans } : {}),
    types,
  });
  // Without a listener, the loss of a connection in use would end the process. The query on it fails anyway.
  pool.on('connect', (client) => client.on('error', () => {}));
  pool.on('error', (error) => options.log.warn('an idle database connection was lost', { err: error }));
  const db = new Kysely<DB>({ dialect: new PostgresDialect({ pool }) });
  return { db, pool, close: () => db.destroy() };
}
