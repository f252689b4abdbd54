import pg from 'pg';
import { atEnd } from '../../support/at-end.ts';

/** Accesses the database as its owner, without the broker: to read rows, to make keys older, and to plant faults. */
export interface Owner {
  /** Returns rows; undefined while PostgreSQL is down. */
  tryQuery<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[] | undefined>;
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
  /** Runs `work` with queries that all use the same snapshot. */
  inSnapshot<Result>(work: (query: Owner['query']) => Promise<Result>): Promise<Result>;
}

export function openOwner(url: string): Owner {
  const pool = new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: 30_000 });
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  const query = async <Row extends pg.QueryResultRow>(text: string, values?: unknown[]) =>
    (await pool.query<Row>(text, values)).rows;
  const inSnapshot: Owner['inSnapshot'] = async (work) => {
    const client = await pool.connect();
    try {
      await client.query('begin isolation level repeatable read read only');
      const result = await work(async (text, values) => (await client.query<never>(text, values)).rows);
      await client.query('commit');
      return result;
    } finally {
      client.release(true);
    }
  };
  atEnd(() => pool.end());
  return { query, inSnapshot, tryQuery: (text, values) => query<never>(text, values).catch(() => undefined) };
}
