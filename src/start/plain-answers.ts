import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { type ErrorCode, errorTable } from '../errors.ts';
import { securityHeaders } from '../http/headers.ts';

/**
 * The headers of the responses that an HTTP server writes itself, without a listener of the broker: while the broker starts,
 * or if a request is not valid HTTP. They have no request id, and they end the connection.
 */
const commonHeaders = [...securityHeaders().flat(), 'Cache-Control', 'no-store', 'Connection', 'close'];

/** Writes a problem document (RFC 9457). */
export function sendPlainProblem(
  response: ServerResponse,
  code: ErrorCode,
  headers: readonly string[] = [],
): void {
  const { status, title } = errorTable[code];
  const body = JSON.stringify({ type: `urn:hallpass:error:${code}`, title, status, code });
  const contentHeaders = [
    'Content-Type',
    'application/problem+json',
    'Content-Length',
    String(Buffer.byteLength(body)),
  ];
  response.writeHead(status, [...commonHeaders, ...contentHeaders, ...headers]).end(body);
}

/** Writes a response that has a status and no body. */
export function sendPlainStatus(response: ServerResponse, status: number): void {
  response.writeHead(status, [...commonHeaders, 'Content-Length', '0']).end();
}

/** The statuses that Node itself would use for errors of its HTTP parser, by error code. All other errors are 400. */
const statusOfParserError = new Map<string, number>([
  ['HPE_HEADER_OVERFLOW', 431],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', 413],
  ['ERR_HTTP_REQUEST_TIMEOUT', 408],
]);

/** Writes the response to a request that Node's parser could not read. The caller closes the connection. */
export function writeUnparsed(socket: Duplex, { code, at }: { code: string | undefined; at: Date }): void {
  const status = statusOfParserError.get(code ?? '') ?? 400;
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, `Date: ${at.toUTCString()}`];
  for (let i = 0; i + 1 < commonHeaders.length; i += 2)
    lines.push(`${commonHeaders[i]}: ${commonHeaders[i + 1]}`);
  socket.write(`${lines.join('\r\n')}\r\nContent-Length: 0\r\n\r\n`);
}
