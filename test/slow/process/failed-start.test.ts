import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../src/db/database.ts';
import { migrate } from '../../../src/db/migrate.ts';
import { applicationRole } from '../../../src/embedded/bootstrap.ts';
import { openEmbeddedServer } from '../../../src/embedded/embedded-server.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { createLog } from '../../../src/platform/log.ts';
import { createSystemRandom } from '../../../src/platform/random.ts';
import { query, temporaryDataDir } from '../embedded/broker-process.ts';

/** Tests of the whole process, on an embedded server whose database allows everything to start except the worker. */
const log = createLog('error');
let dataDir: string;
let remove: () => Promise<void>;

beforeAll(async () => {
  const directory = await temporaryDataDir();
  dataDir = join(directory.path, 'data');
  remove = directory.remove;
  const random = createSystemRandom();
  const server = await openEmbeddedServer({ dataDir, clock: systemClock, log, random });
  const owner = openDatabase({ url: server.ownerUrl, log, maxConnections: 1, applicationName: 'test' });
  await migrate(owner.db, applicationRole);
  await owner.close();
  await query(server.ownerUrl, "alter table jobs add check (name = 'none')");
  await server.stop();
});
afterAll(() => remove());

describe('a start that fails after everything but the worker has started', () => {
  it('stops the embedded server that it started, and exits with an error', async () => {
    const main = new URL('../../../src/main.ts', import.meta.url).pathname;
    const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), main], {
      env: {
        PATH: process.env.PATH,
        HALLPASS_DATA_DIR: dataDir,
        HALLPASS_PORT: '0',
        HALLPASS_METRICS_PORT: '0',
        HALLPASS_GATEWAY_PORT: '0',
        HALLPASS_PUBLIC_URL: 'http://127.0.0.1:8080',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        output += chunk;
      });
    }
    const [code] = await once(child, 'close');
    expect(output).toMatch(/hallpass: .*jobs/);
    expect(code).toBe(1);
    expect(output).not.toContain('a resource was not released');
    expect(existsSync(join(dataDir, 'server/data/postmaster.pid'))).toBe(false);
  });
});
