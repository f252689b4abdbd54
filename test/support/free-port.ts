import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Below every system's ephemeral ports (Linux: from 32768): between our look and the broker's `listen`, no outgoing
 * connection and no `listen(0)` of anybody can be given the port. Each test worker has a slice of its own.
 */
const lowest = 12_000;
const sliceSize = 1_000;
const slices = 20;

const slice = lowest + (Number(process.env.VITEST_POOL_ID ?? 0) % slices) * sliceSize;
/** Where the file before this one in the same worker began is unlikely to be where we begin: its sockets may linger. */
let next = process.pid % sliceSize;

/** A loopback port that is free and that only a caller of this function is likely to take. */
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
