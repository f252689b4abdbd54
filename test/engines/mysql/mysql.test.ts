import { describe } from 'vitest';
import { testContract } from '../contract.ts';
import { testAccounts } from './account-cases.ts';
import { testEnding } from './ending-cases.ts';
import { isMariadbMissing, startMariadb } from './mariadb-server.ts';
import { testProblems } from './problem-cases.ts';
import { type MariadbSubject, prepareMariadb } from './subject.ts';

describe.skipIf(isMariadbMissing)('MariaDB', () => {
  let subject: Promise<MariadbSubject> | undefined;
  const start = (): Promise<MariadbSubject> => {
    subject ??= startMariadb().then(prepareMariadb);
    return subject;
  };
  testContract('MariaDB', start);
  testAccounts(start);
  testEnding(start);
  testProblems(start);
});
