import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Origin } from '../caller.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { Log } from '../platform/log.ts';
import { createAddressReader } from './address.ts';
import { securityHeaders } from './headers.ts';

/** The context of a request: what the edge knows about it, and what inner layers add for its log line and metrics. */
export interface Exchange extends Origin {
  /** The method that the client sent. Inner layers handle HEAD as GET. */
  method: string;
  /** The `operationId` in the contract; `unmatched` until a route matches. */
  operation: string;
  /** `adm_...`, `agt_...` or `res_...` after authentication. */
  caller: string | undefined;
  /** The code of the error in the response. */
  code: string | undefined;
  /** The headers of every response except X-Request-Id: names and values alternate. */
  headers: readonly string[];
  /** The rate limit headers, in the same form; empty until a limit is checked. */
  limits: readonly string[];
  /** Further headers of this response, in the same form. */
  extra: readonly string[];
}

export type ExchangeListener = (
  request: IncomingMessage,
  response: ServerResponse,
  exchange: Exchange,
) => void;

export interface EdgeOptions {
  clock: Clock;
  ids: Ids;
  log: Log;
  trustedProxies: readonly string[];
  /** Called at the beginning of every request. */
  begin?: () => void;
  /** Called after every response, and when a client disconnects before it (status 499). */
  observe: (exchange: Exchange, status: number, durationMs: number) => void;
}

/**
 * Creates the outermost layer of every path, lean or Express: request id, common headers, one log line, metrics. A
 * client's own X-Request-Id is ignored, so that ids in the audit log cannot be forged.
 */
export function createEdge(options: EdgeOptions, inner: ExchangeListener): RequestListener {
  const { clock, ids, log, observe, begin = () => {} } = options;
  const headers = securityHeaders().flat();
  const readAddress = createAddressReader(options.trustedProxies);
  return (request, response) => {
    begin();
    const startedAt = clock.now().getTime();
    const requestId = ids.next('request');
    const { method = 'GET' } = request;
    const exchange: Exchange = {
      requestId,
      method,
      address: readAddress(request),
      operation: 'unmatched',
      caller: undefined,
      code: undefined,
      headers,
      limits: [],
      extra: [],
    };
    response.once('close', () => {
      const durationMs = clock.now().getTime() - startedAt;
      const status = response.writableFinished ? response.statusCode : 499;
      observe(exchange, status, durationMs);
      log.info('request', {
        request_id: requestId,
        method,
        operation: exchange.operation,
        status,
        duration_ms: durationMs,
        address: exchange.address,
        caller: exchange.caller,
        code: exchange.code,
      });
    });
    inner(request, response, exchange);
  };
}
