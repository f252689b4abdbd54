import pg from 'pg';
import { atEnd } from '../support/at-end.ts';

/** The database as its owner, past the broker: to look at what is there, to let time pass for keys, and to plant faults. */
export interface Owner {
  /** Rows; undefined while PostgreSQL does not answer. */
  tryQuery<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[] | undefined>;
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
}

export function openOwner(url: string): Owner {
  const pool = new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: 2_000 });
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  const query = async <Row extends pg.QueryResultRow>(text: string, values?: unknown[]) =>
    (await pool.query<Row>(text, values)).rows;
  atEnd(() => pool.end());
  return { query, tryQuery: (text, values) => query<never>(text, values).catch(() => undefined) };
}
