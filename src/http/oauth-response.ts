import type { ServerResponse } from 'node:http';
import type { BrokerError } from '../errors.ts';
import type { Exchange } from './edge.ts';

const noStore = ['Cache-Control', 'no-store', 'Pragma', 'no-cache'];

/** Writes a JSON response of /oauth2 (RFC 6749 section 5.1) with one call. `undefined` stands for no body. */
export function sendJson(
  response: ServerResponse,
  exchange: Exchange,
  answer: { status: number; body: object | undefined; headers?: string[] },
): void {
  const { status, body, headers = [] } = answer;
  const text = body === undefined ? '' : JSON.stringify(body);
  const content = ['Content-Length', String(Buffer.byteLength(text))];
  if (body !== undefined) content.push('Content-Type', 'application/json;charset=UTF-8');
  const requestId = ['X-Request-Id', exchange.requestId];
  response.writeHead(
    status,
    exchange.headers.concat(requestId, exchange.limits, exchange.extra, noStore, content, headers),
  );
  response.end(text);
}

/**
 * Returns the text of an error with the characters replaced that `error_description` must not contain (RFC 6749
 * section 5.2).
 */
function describe(error: BrokerError): string {
  const text = error.detail ?? error.entry.title;
  return text.replaceAll(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '?');
}

/** Writes `error` as an error response of RFC 6749 section 5.2. */
export function sendOauthError(response: ServerResponse, exchange: Exchange, error: BrokerError): void {
  const { status, oauth = 'server_error' } = error.entry;
  const headers: string[] = [];
  // RFC 6749 section 5.2: a 401 names the authentication scheme.
  if (status === 401) headers.push('WWW-Authenticate', 'Basic realm="hallpass", charset="UTF-8"');
  // Express sets `Allow` itself for the paths that it routes.
  if (status === 405 && !response.hasHeader('Allow')) headers.push('Allow', 'POST');
  // The body was not read completely: its rest must not be parsed as the next request.
  if (status === 413) headers.push('Connection', 'close');
  if (error.retryAfterSeconds !== undefined) headers.push('Retry-After', String(error.retryAfterSeconds));
  sendJson(response, exchange, {
    status,
    body: { error: oauth, error_description: describe(error), ...error.extensions },
    headers,
  });
}
