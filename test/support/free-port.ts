import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * The lowest port that is used. It is below the ephemeral ports of every system (Linux: from 32768), so that no outgoing
 * connection and no `listen(0)` gets the port between this check and the broker's `listen`. Each test worker has its own
 * range.
 */
const lowest = 12_000;
const sliceSize = 1_000;
const slices = 20;

const slice = lowest + (Number(process.env.VITEST_POOL_ID ?? 0) % slices) * sliceSize;
/** The first port depends on the process, because sockets of the previous test file of this worker may linger. */
let next = process.pid % sliceSize;

/** Finds a free loopback port that no other caller of this function gets. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < sliceSize; tries += 1) {
    const port = slice + (next++ % sliceSize);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port from ${slice} on`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}
