import pg from 'pg';

/** Whether the server lets everyone in without a password (`trust` in pg_hba.conf). A preflight refuses such a target. */
export async function acceptsAnyPassword(adminUrl: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: adminUrl });
  client.on('error', () => {});
  client.password = 'wrong';
  const isIn = await client.connect().then(
    () => true,
    () => false,
  );
  await client.end();
  return isIn;
}
