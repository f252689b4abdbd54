import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '../platform/clock.ts';
import { repeat } from '../platform/repeat.ts';
import { answerUnparsed, sendPlainProblem, sendPlainStatus } from './plain-answers.ts';

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
/** Connections that wait to be accepted; the system may allow fewer. With Node's 511, many agents at once would wait 1 s. */
const backlog = 4_096;

const starting: RequestListener = (_request, response) =>
  sendPlainProblem(response, 'unavailable', ['Retry-After', '1']);

/**
 * A server whose every answer is one of ours: what Node would answer by itself (no request, no Host, an unknown Expect)
 * has the same headers as all others.
 */
function createPlainServer(clock: Clock, listen: RequestListener): Server {
  const answers = new WeakMap<Duplex, ServerResponse>();
  const options = { maxHeaderSize: maxHeaderBytes, requireHostHeader: false };
  const server = createServer(options, (request, response) => {
    answers.set(request.socket, response);
    // RFC 9112 section 3.2.
    if (request.headers.host === undefined && request.httpVersion === '1.1') sendPlainStatus(response, 400);
    else listen(request, response);
  });
  server.on('checkExpectation', (_request, response: ServerResponse) => sendPlainStatus(response, 417));
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const answer = answers.get(socket);
    // What is written into an answer that is begun would be taken for a part of it.
    const isBegun = answer?.headersSent === true && !answer.writableFinished;
    if (socket.writable && !isBegun) answerUnparsed(socket, { code: error.code, at: clock.now() });
    else socket.destroy();
  });
  return server;
}

/** Listens at once, so that a port in use is told before anything else is started. */
export async function startHttpServer(options: {
  host: string;
  port: number;
  clock: Clock;
}): Promise<HttpServer> {
  const { host, port, clock } = options;
  let listener = starting;
  const server = createPlainServer(clock, (request, response) => listener(request, response));
  server.headersTimeout = headersTimeoutMs;
  server.requestTimeout = requestTimeoutMs;
  server.keepAliveTimeout = keepAliveTimeoutMs;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, backlog }, () => {
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
