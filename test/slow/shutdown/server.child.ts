import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { systemClock } from '../../../src/platform/clock.ts';
import { startHttpServer } from '../../../src/start/http-server.ts';

/**
 * Runs the broker's HTTP server without a broker: one path reads the body, every other path refuses the request
 * unread.
 */
const listener: RequestListener = (request, response) => {
  if (request.url !== '/oauth2/token') {
    response.writeHead(415, { 'Content-Length': 0 }).end();
    return;
  }
  request.resume().on('end', () => response.writeHead(401, { 'Content-Length': 2 }).end('{}'));
};

/**
 * Stops as most servers do, which resets connections: idle ones are destroyed at once, the others after their
 * response.
 */
async function stopAbruptly(port: number): Promise<void> {
  const plain = createServer(listener).listen(port, '127.0.0.1');
  await once(plain, 'listening');
  process.once('SIGTERM', () => {
    plain.close(() => process.exit(0));
    setInterval(() => plain.closeIdleConnections(), 10);
    setTimeout(() => plain.closeAllConnections(), 300);
  });
}

async function stopGracefully(port: number): Promise<void> {
  const server = await startHttpServer({ host: '127.0.0.1', port, clock: systemClock });
  server.serve(listener);
  process.once('SIGTERM', () => {
    void server.drain({ graceMs: 500, deadlineMs: 10_000 }).then((drained) => process.exit(drained ? 0 : 1));
  });
}

const [port, way] = process.argv.slice(2);
if (way === 'abruptly') await stopAbruptly(Number(port));
else await stopGracefully(Number(port));
process.stdout.write('Hallpass listens on\n');
