import type { IncomingMessage, ServerResponse } from 'node:http';
import type { NextFunction, Request } from 'express';
import type { Caller, Origin } from '../caller.ts';
import type { Log } from '../platform/log.ts';
import type { Exchange } from './edge.ts';
import { allowedMethods, sendProblem, toBrokerError } from './error-response.ts';

export interface AnswerErrorOptions {
  log: Log;
  /** Records that an authenticated caller was refused something. */
  recordDenial: (denial: {
    caller: Caller;
    origin: Origin;
    operation: string;
    code: string;
  }) => Promise<void>;
  /** Counts a refusal of somebody who did not authenticate. */
  countStranger: (address: string) => void;
}

interface ErrorContext {
  exchangeOf: (request: IncomingMessage) => Exchange;
  callers: WeakMap<IncomingMessage, Caller>;
}

/** The one place that turns errors into answers, the record and log lines. */
export function answerError(options: AnswerErrorOptions, { exchangeOf, callers }: ErrorContext) {
  return async (
    thrown: unknown,
    request: Request,
    response: ServerResponse,
    _next: NextFunction,
  ): Promise<void> => {
    const exchange = exchangeOf(request);
    let error = toBrokerError(thrown);
    const caller = callers.get(request);
    const status = error.entry.status;
    if (status === 401) options.countStranger(exchange.address);
    if (caller !== undefined && !error.recorded && (status === 403 || status === 404)) {
      try {
        await options.recordDenial({
          caller,
          origin: exchange,
          operation: exchange.operation,
          code: error.code,
        });
      } catch (failure) {
        error = toBrokerError(failure);
      }
    }
    exchange.code = error.code;
    if (error.entry.status >= 500) {
      options.log.error('request failed', { request_id: exchange.requestId, err: error.cause ?? error });
    }
    const allow = allowedMethods(thrown);
    if (allow !== undefined && !response.headersSent) response.setHeader('Allow', allow);
    if (response.headersSent) response.destroy();
    else sendProblem(response, error, exchange.requestId);
  };
}
