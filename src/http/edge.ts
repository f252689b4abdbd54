import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Origin } from '../caller.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { Log } from '../platform/log.ts';
import { createAddressReader } from './address.ts';
import { securityHeaders } from './headers.ts';

/** What the edge knows of a request, and what inner layers add for its log line and metrics. */
export interface Exchange extends Origin {
  /** As it was sent: inner layers answer HEAD as GET. */
  method: string;
  /** The contract's name for what was called; `unmatched` until a route takes the request. */
  operation: string;
  /** `adm_...`, `agt_...` or `res_...` once authenticated. */
  caller: string | undefined;
  /** The code of the error that was answered. */
  code: string | undefined;
  /** Names and values, in turn, of the headers that every response carries besides its X-Request-Id. */
  headers: readonly string[];
  /** As `headers`, what tells of the limits that were looked at; empty until one is. */
  limits: readonly string[];
  /** As `headers`, what else is to be said with this answer. */
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
  /** Told of every answered request. */
  observe: (exchange: Exchange, status: number, durationMs: number) => void;
}

/**
 * The outermost layer of every path, lean or Express: request id, common headers, one log line, metrics.
 * A caller's own X-Request-Id is not taken over, so ids in the record cannot be forged.
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
