import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { type ErrorCode, errorTable } from '../errors.ts';
import { securityHeaders } from '../http/headers.ts';

/** Answers where no broker is behind them: well-formed, without a request id, and the end of their connection. */
const commonHeaders = [...securityHeaders().flat(), 'Cache-Control', 'no-store', 'Connection', 'close'];

/** Answers with a problem document (RFC 9457). */
export function sendPlainProblem(
  response: ServerResponse,
  code: ErrorCode,
  headers: readonly string[] = [],
): void {
  const { status, title } = errorTable[code];
  const body = JSON.stringify({ type: `urn:hallpass:error:${code}`, title, status, code });
  const about = [
    'Content-Type',
    'application/problem+json',
    'Content-Length',
    String(Buffer.byteLength(body)),
  ];
  response.writeHead(status, [...commonHeaders, ...about, ...headers]).end(body);
}

/** Answers with nothing but a status. */
export function sendPlainStatus(response: ServerResponse, status: number): void {
  response.writeHead(status, [...commonHeaders, 'Content-Length', '0']).end();
}

/** What Node's HTTP parser gives up on, by its error code, as it would answer by itself. */
const statusOfParserError = new Map<string, number>([
  ['HPE_HEADER_OVERFLOW', 431],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', 413],
  ['ERR_HTTP_REQUEST_TIMEOUT', 408],
]);

/** Answers what is no request, on the bare connection, and closes it. */
export function answerUnparsed(socket: Duplex, { code, at }: { code: string | undefined; at: Date }): void {
  const status = statusOfParserError.get(code ?? '') ?? 400;
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, `Date: ${at.toUTCString()}`];
  for (let i = 0; i + 1 < commonHeaders.length; i += 2)
    lines.push(`${commonHeaders[i]}: ${commonHeaders[i + 1]}`);
  socket.end(`${lines.join('\r\n')}\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}
