import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { addSeconds, type Clock, delay } from '../platform/clock.ts';
import { repeat } from '../platform/repeat.ts';
import { type Connections, trackConnections } from './connections.ts';
import { sendPlainProblem, sendPlainStatus, writeUnparsed } from './plain-answers.ts';

export interface HttpServer {
  port: number;
  /** Sets the listener. Before that, every request gets a 503. */
  serve(listener: RequestListener): void;
  /** Makes every later response carry `Connection: close` and end its connection. */
  closeAfterResponses(): void;
  /** Accepts no more connections. Requests on open ones are still handled. */
  stopListening(): void;
  /**
   * Calls both functions above, and closes idle connections after `graceMs`. Resolves to true when all connections are
   * closed. After `deadlineMs`, closes the remaining connections and resolves to false.
   */
  drain(limits: DrainLimits): Promise<boolean>;
}

interface DrainLimits {
  graceMs: number;
  deadlineMs: number;
}

const headersTimeoutMs = 10_000;
const requestTimeoutMs = 30_000;
/**
 * Longer than proxies keep idle connections (60 s). Otherwise a proxy could send a request on a connection that is
 * closing.
 */
const keepAliveTimeoutMs = 75_000;
const maxHeaderBytes = 16_384;
const closeIdleMs = 100;
/**
 * The queue of connections that wait to be accepted; the system may allow fewer. With Node's default of 511, many
 * agents that connect at once would wait 1 s.
 */
const backlog = 4_096;

const starting: RequestListener = (_request, response) =>
  sendPlainProblem(response, 'unavailable', ['Retry-After', '1']);

/**
 * Creates a server that writes all responses itself, with the same headers, including those that Node would write
 * (for a request that cannot be parsed, has no Host or has an unknown Expect).
 */
function createPlainServer(
  clock: Clock,
  listen: RequestListener,
): { server: Server; connections: Connections } {
  const options = { maxHeaderSize: maxHeaderBytes, requireHostHeader: false };
  const server = createServer(options, (request, response) => {
    if (!connections.receive(request, response)) return;
    // RFC 9112 section 3.2.
    if (request.headers.host === undefined && request.httpVersion === '1.1') sendPlainStatus(response, 400);
    else listen(request, response);
  });
  const connections = trackConnections(server, clock);
  server.on('checkExpectation', (request, response: ServerResponse) => {
    if (connections.receive(request, response)) sendPlainStatus(response, 417);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (connections.isClosing(socket)) return;
    const response = connections.latestResponse(socket);
    // Bytes that are written after the start of a response would be read as a part of it.
    const isBegun = response?.headersSent === true && !response.writableFinished;
    if (!socket.writable || isBegun) {
      socket.destroy();
      return;
    }
    writeUnparsed(socket, { code: error.code, at: clock.now() });
    connections.close(socket);
  });
  return { server, connections };
}

/** Starts to listen at once, so that a port in use is reported before anything else is started. */
export async function startHttpServer(options: {
  host: string;
  port: number;
  clock: Clock;
}): Promise<HttpServer> {
  const { host, port, clock } = options;
  let listener = starting;
  const { server, connections } = createPlainServer(clock, (request, response) =>
    listener(request, response),
  );
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
  const closed = new Promise<void>((resolve) => {
    server.once('close', resolve);
  });
  // `close` would destroy idle connections at once, with requests that are already being sent.
  server.closeIdleConnections = () => {};
  const stopListening = (): void => {
    if (server.listening) server.close();
  };
  return {
    port: (server.address() as AddressInfo).port,
    serve(given) {
      listener = given;
    },
    closeAfterResponses: () => connections.closeAfterResponses(),
    stopListening,
    drain(limits) {
      connections.closeAfterResponses();
      stopListening();
      return closeConnections({ server, connections, closed, clock, ...limits });
    },
  };
}

interface Closing extends DrainLimits {
  server: Server;
  connections: Connections;
  closed: Promise<void>;
  clock: Clock;
}

async function closeConnections(closing: Closing): Promise<boolean> {
  const { server, connections, closed, clock, graceMs, deadlineMs } = closing;
  let drained = true;
  const deadline = clock.setTimer(deadlineMs, () => {
    drained = false;
    server.closeAllConnections();
  });
  await Promise.race([closed, delay(clock, graceMs)]);
  // Node no longer limits the time in which a request must arrive.
  const keepReceivingUntil = addSeconds(clock.now(), headersTimeoutMs / 1000);
  const idle = repeat({
    clock,
    intervalMs: closeIdleMs,
    run: async () => connections.closeIdle({ keepReceiving: clock.now() < keepReceivingUntil }),
    onError: () => {},
  });
  await closed;
  deadline.cancel();
  await idle.stop();
  return drained;
}
