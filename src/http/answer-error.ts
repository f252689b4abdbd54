import type { IncomingMessage, ServerResponse } from 'node:http';
import type { NextFunction } from 'express';
import type { Caller, Origin } from '../caller.ts';
import type { BrokerError } from '../errors.ts';
import type { Log } from '../platform/log.ts';
import { type ChallengeTerms, type Credential, challengeOf } from './authenticate.ts';
import type { Exchange } from './edge.ts';
import { allowedMethods, sendProblem, toBrokerError } from './error-response.ts';
import { setHeaders } from './headers.ts';
import { sendOauthError } from './oauth-response.ts';
import { pathOf } from './request-target.ts';
import { type Subject, subjectOf } from './subject.ts';

export interface AnswerErrorOptions {
  log: Log;
  /** Records that an authenticated caller was refused something. */
  recordDenial: (denial: {
    caller: Caller;
    origin: Origin;
    operation: string;
    code: string;
    subject: Subject;
  }) => Promise<void>;
  /** Counts a refusal of somebody who did not authenticate. */
  countStranger: (address: string) => void;
  /** What every challenge says of how to authenticate. */
  challenge: ChallengeTerms;
}

/** Who was let in, and what they want to do it to. */
export interface Admission {
  caller: Caller;
  credential: Credential;
  subject: Subject;
}

interface ErrorContext {
  exchangeOf: (request: IncomingMessage) => Exchange;
  admissions: WeakMap<IncomingMessage, Admission>;
}

/** The one place that turns errors into answers, the record and log lines; its shape is an error handler of Express. */
export function answerError(options: AnswerErrorOptions, { exchangeOf, admissions }: ErrorContext) {
  return async (
    thrown: unknown,
    request: IncomingMessage,
    response: ServerResponse,
    _next?: NextFunction,
  ): Promise<void> => {
    const exchange = exchangeOf(request);
    let error = toBrokerError(thrown);
    const admission = admissions.get(request) ?? ofHolder(error);
    const status = error.entry.status;
    if (status === 401 && error.challenge !== 'use_dpop_nonce') options.countStranger(exchange.address);
    if (admission !== undefined && !error.recorded && isDenial(error)) {
      const { operation } = exchange;
      try {
        const { caller, subject } = admission;
        await options.recordDenial({ caller, subject, origin: exchange, operation, code: error.code });
      } catch (failure) {
        error = toBrokerError(failure);
      }
    }
    exchange.code = error.code;
    if (error.entry.status >= 500 && error.code !== 'overloaded') {
      options.log.error('request failed', { request_id: exchange.requestId, err: error.cause ?? error });
    }
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const allow = allowedMethods(thrown);
    if (allow !== undefined) response.setHeader('Allow', allow);
    write(error, { request, response, exchange, terms: options.challenge });
  };
}

/** Who is let in and refused something, or whose bound token somebody shows who cannot prove to hold its key. */
function isDenial({ entry, holder }: BrokerError): boolean {
  return entry.status === 403 || entry.status === 404 || holder !== undefined;
}

function ofHolder({ holder: id }: BrokerError): Pick<Admission, 'caller' | 'subject'> | undefined {
  const caller = { kind: 'agent', id: id ?? '', authMethod: '' } as const;
  return id === undefined ? undefined : { caller, subject: subjectOf({}) };
}

/** /oauth2 has the errors of RFC 6749, whatever of it is asked for. */
function write(
  error: BrokerError,
  on: { request: IncomingMessage; response: ServerResponse; exchange: Exchange; terms: ChallengeTerms },
): void {
  const { request, response, exchange, terms } = on;
  if (/^\/oauth2(?:\/|$)/.test(pathOf(request))) {
    sendOauthError(response, exchange, error);
    return;
  }
  setHeaders(response, exchange.limits);
  setHeaders(response, exchange.extra);
  if (error.entry.status === 401) response.setHeader('WWW-Authenticate', challengeOf(request, error, terms));
  sendProblem(response, error, exchange.requestId);
}
