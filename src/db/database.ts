import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import type { Log } from '../platform/log.ts';
import type { DB } from './schema.gen.ts';

/** A handle on the broker's database: what a function takes that needs no atomicity. */
export type Db = Kysely<DB>;
/** A handle inside a transaction: what a function takes that needs atomicity. */
export type Tx = Transaction<DB>;

export interface DatabaseOptions {
  /** postgres:// URL. */
  url: string;
  log: Log;
  maxConnections: number;
  /** Shown in pg_stat_activity. */
  applicationName: string;
  statementTimeoutMs?: number;
  /** Whether prepared statements keep their first plan, which then costs nothing, instead of one for each set of values. */
  keepPlans?: boolean;
}

export interface Database {
  db: Db;
  /** The pool under `db`, for the few statements that go straight through pg. */
  pool: pg.Pool;
  close(): Promise<void>;
}

// 64-bit counters (epochs, versions) come as numbers: they rise by one, far below 2^53.
const int8 = 20;
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === int8 && format !== 'binary'
      ? (text: string) => Number(text)
      : pg.types.getTypeParser(oid, format)) as pg.CustomTypesConfig['getTypeParser'],
};

/** As a statement, since a pooler between may refuse a start-up parameter that it does not know. */
async function keepPlans(client: pg.ClientBase): Promise<void> {
  await client.query('set plan_cache_mode = force_generic_plan');
}

/** Opens a pool whose every connection has timeouts, so that no statement or lock waits for ever. */
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
    // eslint-disable-next-line @typescript-eslint/no-misused-promises -- the pool waits for it, whatever its types say
    ...(options.keepPlans === true ? { onConnect: keepPlans } : {}),
    types,
  });
  // A client in use has no other listener, and without one a lost connection would end the process; whoever uses the
  // client learns of the loss from its query.
  pool.on('connect', (client) => client.on('error', () => {}));
  pool.on('error', (error) => options.log.warn('an idle database connection was lost', { err: error }));
  const db = new Kysely<DB>({ dialect: new PostgresDialect({ pool }) });
  return { db, pool, close: () => db.destroy() };
}
