import { type Database, openDatabase } from '../../src/db/database.ts';
import { createLog } from '../../src/platform/log.ts';

export interface ReadCounter extends Pick<Database, 'db' | 'close'> {
  /** Runs a query for one integer of the statistics, which include what this session has read so far. */
  read(query: string): Promise<number>;
}

/** Opens a session on the database, and a query function that first flushes the statistics of the session. */
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
      // The function exists from version 15 on. Before, a session flushes its statistics when it has been idle for a
      // moment.
      if (Number(settings[0]?.version) >= 150_000) await pool.query('select pg_stat_force_next_flush()');
      else await new Promise((resolve) => setTimeout(resolve, 1_000));
      const { rows } = await pool.query<{ n: number }>(query);
      return rows[0]?.n ?? 0;
    },
  };
}
