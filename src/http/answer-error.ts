import type { IncomingMessage, ServerResponse } from 'node:http';
import type { NextFunction } from 'express';
import type { Caller, Origin } from '../caller.ts';
import { type BrokerError, isFault } from '../errors.ts';
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
  /** Writes the audit event of a request that was refused after authentication. */
  recordDenial: (denial: {
    caller: Caller;
    origin: Origin;
    operation: string;
    code: string;
    subject: Subject;
  }) => Promise<void>;
  /** Counts a request that failed authentication. */
  countStranger: (address: string) => void;
  /** The parameters of every `WWW-Authenticate` challenge. */
  challenge: ChallengeTerms;
}

/** An authenticated request: its caller, its credential and the objects in its path. */
export interface Admission {
  caller: Caller;
  credential: Credential;
  subject: Subject;
}

interface ErrorContext {
  exchangeOf: (request: IncomingMessage) => Exchange;
  admissions: WeakMap<IncomingMessage, Admission>;
}

/** Creates the Express error handler. Only this handler turns errors into responses, audit events and log lines. */
export function answerError(options: AnswerErrorOptions, { exchangeOf, admissions }: ErrorContext) {
  return async (
    thrown: unknown,
    request: IncomingMessage,
    response: ServerResponse,
    _next?: NextFunction,
  ): Promise<void> => {
    const exchange = exchangeOf(request);
    let error = toBrokerError(thrown);
    const admission = admissions.get(request) ?? admissionOfHolder(error);
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
    if (isFault(error)) {
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

/**
 * Whether the refusal is audited: that of an authenticated caller, or of a token that was sent without a valid proof
 * of possession of its key.
 */
function isDenial({ entry, holder }: BrokerError): boolean {
  return entry.status === 403 || entry.status === 404 || holder !== undefined;
}

function admissionOfHolder({ holder: id }: BrokerError): Pick<Admission, 'caller' | 'subject'> | undefined {
  const caller = { kind: 'agent', id: id ?? '', authMethod: '' } as const;
  return id === undefined ? undefined : { caller, subject: subjectOf({}) };
}

/** Writes RFC 6749 errors for every path under /oauth2, and problem documents for all others. */
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
