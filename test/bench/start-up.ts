import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureBuilt, root } from '../e2e/support/build.ts';
import { freePort } from '../support/free-port.ts';

const stepMs = 10;
const longestMs = 120_000;

async function isReady(url: string): Promise<boolean> {
  return fetch(`${url}/readyz`).then(
    (response) => response.status === 200,
    () => false,
  );
}

/** Returns the milliseconds from the start of the built broker's process until it reports that it is ready. */
export async function measureStartUp(database: { url: string; masterKey: string }): Promise<number> {
  await ensureBuilt();
  const port = await freePort();
  const child = spawn('taskset', ['-c', '0', process.execPath, join(root, 'dist/main.js')], {
    stdio: 'ignore',
    env: {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      DATABASE_URL: database.url,
      HALLPASS_MASTER_KEY: database.masterKey,
      HALLPASS_PUBLIC_URL: 'https://hallpass.test',
      HALLPASS_PORT: String(port),
      HALLPASS_METRICS_PORT: '0',
      HALLPASS_GATEWAY_PORT: '0',
      // Without the background worker, whose jobs would begin to process the rows.
      HALLPASS_ROLE: 'api',
    },
  });
  const startedAt = performance.now();
  const exited = once(child, 'exit');
  while (!(await isReady(`http://127.0.0.1:${port}`))) {
    if (child.exitCode !== null || performance.now() - startedAt > longestMs)
      throw new Error('the broker did not become ready');
    await sleep(stepMs);
  }
  const readyMs = performance.now() - startedAt;
  child.kill('SIGTERM');
  await exited;
  return readyMs;
}
