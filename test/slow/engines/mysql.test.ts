import { describe } from 'vitest';
import { testContract } from '../../engines/contract.ts';
import { testAccounts } from '../../engines/mysql/account-cases.ts';
import { testEnding } from '../../engines/mysql/ending-cases.ts';
import { isMariadbMissing, startMariadb } from '../../engines/mysql/mariadb-server.ts';
import { testProblems } from '../../engines/mysql/problem-cases.ts';
import { type MariadbSubject, prepareMariadb } from '../../engines/mysql/subject.ts';

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
