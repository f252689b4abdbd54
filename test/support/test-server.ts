import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEmbeddedServer } from '../../src/embedded/embedded-server.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createLog } from '../../src/platform/log.ts';
import { createSystemRandom } from '../../src/platform/random.ts';

/** A PostgreSQL server for the whole run. */
export interface TestServer {
  /** The URL of a superuser, only for making roles and databases. */
  adminUrl: string;
  /** The clause of `create database` that copies a template fastest. */
  copyClause: string;
  stop(): Promise<void>;
}

const memoryDir = '/dev/shm';
const neededBytes = 4 * 2 ** 30;

/** Returns a directory in memory if it has enough space, because each test file copies a database of 600 files. */
async function findRoomyDir(): Promise<string> {
  const { bavail, bsize } = await statfs(memoryDir).catch(() => ({ bavail: 0, bsize: 0 }));
  return bavail * bsize >= neededBytes ? memoryDir : tmpdir();
}

/**
 * Starts the server: the one in `HALLPASS_TEST_DATABASE_URL` (a superuser's URL), otherwise an
 * embedded one in a temporary directory, which need not survive a power failure (fsync off).
 */
export async function startTestServer(): Promise<TestServer> {
  const adminUrl = process.env.HALLPASS_TEST_DATABASE_URL;
  if (adminUrl !== undefined && adminUrl !== '') return { adminUrl, copyClause: '', stop: async () => {} };
  const dataDir = await mkdtemp(join(await findRoomyDir(), 'hallpass-test-'));
  const server = await openEmbeddedServer({
    dataDir,
    clock: systemClock,
    log: createLog('error'),
    random: createSystemRandom(),
    settings: { fsync: 'off', max_connections: '300', shared_buffers: '128MB' },
  });
  return {
    adminUrl: server.adminUrl,
    // Costs two checkpoints, which cost little without fsync.
    copyClause: 'strategy file_copy',
    async stop() {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
