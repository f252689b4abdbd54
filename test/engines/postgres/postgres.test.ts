import pg from 'pg';
import { describe, inject } from 'vitest';
import { testContract } from '../contract.ts';
import { testAdmin } from './admin-cases.ts';
import { testEnding } from './ending-cases.ts';
import { testOwnership } from './ownership-cases.ts';
import { preparePostgres } from './subject.ts';

const { adminUrl } = inject('server');
const start = () => preparePostgres(adminUrl);

/** Whether the server lets everyone in without a password (`trust` in pg_hba.conf). A preflight refuses such a target. */
async function acceptsAnyPassword(): Promise<boolean> {
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

const isTrusting = await acceptsAnyPassword();
if (isTrusting) process.stderr.write('SKIPPED: the test server accepts any password\n');

describe.skipIf(isTrusting)("PostgreSQL, the suite's own server", () => {
  testContract("PostgreSQL, the suite's own server", start);
  testEnding(start);
  testOwnership(start);
  testAdmin(start);
});
