import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../platform/clock.ts';
import { repeat } from '../platform/repeat.ts';

export interface HttpServer {
  port: number;
  /** Puts the listener in place; until then every request is answered 503. */
  serve(listener: RequestListener): void;
  /**
   * Accepts no more connections, lets answers that are under way end, and resolves to true; after `deadlineMs` cuts
   * off what is left and resolves to false.
   */
  drain(deadlineMs: number): Promise<boolean>;
}

const headersTimeoutMs = 10_000;
const requestTimeoutMs = 30_000;
/** Longer than proxies keep idle connections (60 s): else one sends a request into a connection that is closing. */
const keepAliveTimeoutMs = 75_000;
const maxHeaderBytes = 16_384;
const sweepIdleMs = 100;

const starting: RequestListener = (_request, response) => {
  response.writeHead(503, { 'Retry-After': '1', 'Cache-Control': 'no-store' }).end();
};

/** Listens at once, so that a port in use is told before anything else is started. */
export async function startHttpServer(options: {
  host: string;
  port: number;
  clock: Clock;
}): Promise<HttpServer> {
  const { host, port, clock } = options;
  let listener = starting;
  const server = createServer({ maxHeaderSize: maxHeaderBytes }, (request, response) =>
    listener(request, response),
  );
  server.headersTimeout = headersTimeoutMs;
  server.requestTimeout = requestTimeoutMs;
  server.keepAliveTimeout = keepAliveTimeoutMs;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return {
    port: (server.address() as AddressInfo).port,
    serve(given) {
      listener = given;
    },
    async drain(deadlineMs) {
      let drained = true;
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      // A connection that was busy when `close` was called is kept alive after its answer, and would hold us up.
      const idle = repeat({
        clock,
        intervalMs: sweepIdleMs,
        run: async () => server.closeIdleConnections(),
        onError: () => {},
      });
      const deadline = clock.setTimer(deadlineMs, () => {
        drained = false;
        server.closeAllConnections();
      });
      await closed;
      deadline.cancel();
      await idle.stop();
      return drained;
    },
  };
}
