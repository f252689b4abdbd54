import { describe } from 'vitest';
import { testContract } from '../contract.ts';
import { isMariadbMissing, startMariadb } from './mariadb-server.ts';
import { prepareMariadb } from './subject.ts';

describe.skipIf(isMariadbMissing)('MariaDB', () => {
  testContract('MariaDB', async () => prepareMariadb(await startMariadb()));
});
