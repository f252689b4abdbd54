import { describe, inject } from 'vitest';
import { testContract } from '../contract.ts';
import { acceptsAnyPassword } from './accepts-any-password.ts';
import { testAdmin } from './admin-cases.ts';
import { testEnding } from './ending-cases.ts';
import { testOwnership } from './ownership-cases.ts';
import { preparePostgres } from './subject.ts';

const { adminUrl } = inject('server');
const start = () => preparePostgres(adminUrl);

const isTrusting = await acceptsAnyPassword(adminUrl);
if (isTrusting) process.stderr.write('SKIPPED: the test server accepts any password\n');

describe.skipIf(isTrusting)("PostgreSQL, the suite's own server", () => {
  testContract("PostgreSQL, the suite's own server", start);
  testEnding(start);
  testOwnership(start);
  testAdmin(start);
});
