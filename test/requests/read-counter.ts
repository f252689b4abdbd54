import { type Database, openDatabase } from '../../src/db/database.ts';
import { createLog } from '../../src/platform/log.ts';

export interface ReadCounter extends Pick<Database, 'db' | 'close'> {
  /** The answer of a query for one integer about what this session, and others before it, have read. */
  read(query: string): Promise<number>;
}

/** A database through one session, whose figures can be asked for at once. */
export async function countReads(url: string): Promise<ReadCounter> {
  const { db, pool, close } = openDatabase({
    url,
    log: createLog('silent'),
    maxConnections: 1,
    applicationName: 't',
  });
  const { rows: settings } = await pool.query<{ version: string }>(
    "select current_setting('server_version_num') as version",
  );
  return {
    db,
    close,
    async read(query) {
      // From version 15 on; before, a session reports by itself when it has been idle for a moment.
      if (Number(settings[0]?.version) >= 150_000) await pool.query('select pg_stat_force_next_flush()');
      else await new Promise((resolve) => setTimeout(resolve, 1_000));
      const { rows } = await pool.query<{ n: number }>(query);
      return rows[0]?.n ?? 0;
    },
  };
}
