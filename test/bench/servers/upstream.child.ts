import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An API that answers every request with about a kilobyte of JSON. */
const body = JSON.stringify({
  items: Array.from({ length: 20 }, (_, id) => ({ id, name: `item ${id}`, amount: 10 })),
});

const server = createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
  });
});
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  process.stdout.write(
    `${JSON.stringify({ url: `${url}/items`, authorization: 'Bearer x', form: 'a=1' })}\n`,
  );
});
process.once('SIGTERM', () => process.exit(0));
