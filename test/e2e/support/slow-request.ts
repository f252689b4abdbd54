import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface SlowRequest {
  socket: Socket;
  /** Sends the rest of the body, directly followed by `more`. Resolves to everything that is received until the end. */
  finish(more?: string): Promise<string>;
}

/** Sends the head and half of the body of a request, and keeps the connection. */
export async function beginSlowRequest(
  port: number,
  request: { path: string; bearer: string; json: object },
): Promise<SlowRequest> {
  const body = JSON.stringify(request.json);
  const head = [
    `POST ${request.path} HTTP/1.1`,
    'Host: hallpass',
    `Authorization: Bearer ${request.bearer}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const half = Math.floor(body.length / 2);
  socket.write(`${head.join('\r\n')}\r\n\r\n${body.slice(0, half)}`);
  let received = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    received += chunk;
  });
  const closed = once(socket, 'close');
  return {
    socket,
    async finish(more = '') {
      socket.write(`${body.slice(half)}${more}`);
      await closed;
      return received;
    },
  };
}
