import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * Plays the API of a vendor, for the walkthrough in docs/gateway.md: it answers only requests with the vendor's key. Prints
 * its base URL, and runs until it is stopped.
 */
const vendorKey = 'the-key-of-the-vendor';

const server = createServer((request, response) => {
  const isAuthentic = request.headers.authorization === `Bearer ${vendorKey}`;
  const orders = [{ id: 1, amount: 10 }];
  response.writeHead(isAuthentic ? 200 : 401, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(isAuthentic ? { path: request.url, orders } : { error: 'wrong key' }));
});

server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
});
