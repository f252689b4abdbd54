import pg from 'pg';
import { eventually } from '../../../support/eventually.ts';

/**
 * Ends the open transactions of the brokers in a database. The server does so by itself 15 s after the last message of a stopped broker
 * (src/db/database.ts), but its clock is not that of the test.
 */
export async function endTransactions(adminUrl: string, databaseUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: adminUrl });
  await client.connect();
  const open = 'datname = $1 and xact_start is not null and pid <> pg_backend_pid()';
  const name = new URL(databaseUrl).pathname.slice(1);
  try {
    await eventually(async () => {
      await client.query(
        `select pg_terminate_backend(pid) from pg_stat_activity where ${open} and state like 'idle in transaction%'`,
        [name],
      );
      const { rows } = await client.query(`select pid from pg_stat_activity where ${open}`, [name]);
      if (rows.length > 0) throw new Error('transactions are open');
    });
  } finally {
    await client.end();
  }
}
