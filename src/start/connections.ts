import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../platform/clock.ts';

/** The open connections of a server. They are closed in stages, as RFC 9112 section 9.6 describes. */
export interface Connections {
  /**
   * Records that a request arrived. Returns false if its connection is closing: then the request must not be handled,
   * because the client has read `Connection: close`, and no response can reach it.
   */
  receive(request: IncomingMessage, response: ServerResponse): boolean;
  /** Returns the response to the latest request of a connection. */
  latestResponse(socket: Socket): ServerResponse | undefined;
  /** Sends pending data, then ends the connection. Data that the client still sends is read and discarded. */
  close(socket: Socket): void;
  isClosing(socket: Socket): boolean;
  /** Makes every later response carry `Connection: close` and end its connection. */
  closeAfterResponses(): void;
  /**
   * Closes every connection that has no request in progress. With `keepReceiving`, a connection that has received
   * data since the last call is kept, because it may be receiving a request.
   */
  closeIdle(options: { keepReceiving: boolean }): void;
}

interface State {
  request?: IncomingMessage;
  response?: ServerResponse;
  isClosing: boolean;
  bytesAtLastCheck?: number;
}

/**
 * How long a closed connection is still read. A socket that is destroyed with unread data resets
 * the connection, and the client may lose the response that it has not read yet.
 */
const lingerMs = 2_000;

export function trackConnections(server: Server, clock: Clock): Connections {
  const states = new Map<Socket, State>();
  let isLast = false;

  function close(socket: Socket): void {
    const state = states.get(socket);
    if (state === undefined || state.isClosing) return;
    state.isClosing = true;
    socket.end();
    state.request?.resume();
    const linger = clock.setTimer(lingerMs, () => socket.destroy());
    socket.once('close', () => linger.cancel());
  }

  server.on('connection', (socket: Socket) => {
    states.set(socket, { isClosing: false });
    socket.once('close', () => states.delete(socket));
    // Node calls this after a response with `Connection: close`; its own version may reset the connection.
    socket.destroySoon = () => close(socket);
  });

  return {
    receive(request, response) {
      const state = states.get(request.socket);
      if (state === undefined || state.isClosing) return false;
      const { response: earlier } = state;
      if (earlier?.headersSent === true && !earlier.shouldKeepAlive) return false;
      Object.assign(state, { request, response });
      if (isLast) {
        // Requests can be pipelined: only the last response may end the connection.
        if (earlier && !earlier.headersSent) earlier.shouldKeepAlive = true;
        response.shouldKeepAlive = false;
      }
      return true;
    },
    latestResponse: (socket) => states.get(socket)?.response,
    close,
    isClosing: (socket) => states.get(socket)?.isClosing ?? true,
    closeAfterResponses() {
      isLast = true;
      for (const { response } of states.values())
        if (response?.headersSent === false) response.shouldKeepAlive = false;
    },
    closeIdle({ keepReceiving }) {
      for (const [socket, state] of states)
        if (isIdle(state) && !(isReceiving(socket, state) && keepReceiving)) close(socket);
    },
  };
}

function isIdle({ response }: State): boolean {
  return response?.writableFinished ?? true;
}

/** Whether the connection received data since the last call. */
function isReceiving({ bytesRead }: Socket, state: State): boolean {
  const { bytesAtLastCheck } = state;
  state.bytesAtLastCheck = bytesRead;
  return bytesAtLastCheck !== bytesRead;
}
