import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEmbeddedServer } from '../../src/db/embedded/embedded-server.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLog } from '../../src/platform/log.ts';
import { createSystemRandom } from '../../src/platform/random.ts';

/** A PostgreSQL server for the whole run, and how to end it. */
export interface TestServer {
  /** URL of a superuser: it makes roles and databases, nothing that is tested uses it. */
  adminUrl: string;
  stop(): Promise<void>;
}

/**
 * The server that `HALLPASS_TEST_DATABASE_URL` names (a superuser's URL), else an embedded one in a directory of
 * its own, which is thrown away; so it need not survive a power cut (fsync off).
 */
export async function startTestServer(): Promise<TestServer> {
  const adminUrl = process.env.HALLPASS_TEST_DATABASE_URL;
  if (adminUrl !== undefined && adminUrl !== '') return { adminUrl, stop: async () => {} };
  const dataDir = await mkdtemp(join(tmpdir(), 'hallpass-test-'));
  const server = await openEmbeddedServer({
    dataDir,
    clock: systemClock,
    log: createLog('error'),
    random: createSystemRandom(),
    settings: { fsync: 'off', max_connections: '300', shared_buffers: '128MB' },
  });
  return {
    adminUrl: server.adminUrl,
    async stop() {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
