import { describe } from 'vitest';
import { testContract } from '../../engines/contract.ts';
import { testAdmin } from '../../engines/postgres/admin-cases.ts';
import { testEnding } from '../../engines/postgres/ending-cases.ts';
import { testOwnership } from '../../engines/postgres/ownership-cases.ts';
import { type PostgresSubject, preparePostgres } from '../../engines/postgres/subject.ts';
import { isLeftOut } from '../interop/software.ts';
import { createCluster, findPostgres, startPostgres } from './postgres-server.ts';

/** Runs all tests of the PostgreSQL engine on a server of one major version. */
export function testPostgresVersion(major: string): void {
  const isMissing = isLeftOut(
    `PostgreSQL ${major} (npm ci --prefix .ci/postgres)`,
    findPostgres(major) !== undefined,
  );
  describe.skipIf(isMissing)(`PostgreSQL ${major}`, () => {
    let server: Promise<string> | undefined;
    const start = async (): Promise<PostgresSubject> => {
      server ??= startServer(major);
      return preparePostgres(await server);
    };
    testContract(`PostgreSQL ${major}`, start);
    testEnding(start);
    testOwnership(start);
    testAdmin(start);
  });
}

async function startServer(major: string): Promise<string> {
  const cluster = await createCluster(major);
  return (await startPostgres(cluster, { max_prepared_transactions: '5' })).adminUrl;
}
