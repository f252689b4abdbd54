import type pg from 'pg';

/** The pool for statements that use pg directly, because Kysely's dialect has no named statements. */
export interface HotStatements {
  pool: pg.Pool;
  /** Whether statements are prepared by name, which is not possible behind pgbouncer in transaction mode. */
  prepared: boolean;
}

export interface HotStatement {
  name: string;
  text: string;
  values: unknown[];
}

export async function runHot<Row extends pg.QueryResultRow>(
  { pool, prepared }: HotStatements,
  statement: HotStatement,
): Promise<Row[]> {
  const { text, values } = statement;
  return (await pool.query<Row>(prepared ? statement : { text, values })).rows;
}
