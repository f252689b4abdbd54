import type { IncomingMessage, ServerResponse } from 'node:http';
import { readClientCredentials } from '../client-auth/client-credentials.ts';
import { readDpopRequest } from '../client-auth/dpop/dpop-request.ts';
import { BrokerError, isFault, type RefusedWorkloadToken } from '../errors.ts';
import type { Exchange, ExchangeListener } from '../http/edge.ts';
import { toBrokerError } from '../http/error-response.ts';
import { parseForm } from '../http/form-encoding.ts';
import { sendJson, sendOauthError } from '../http/oauth-response.ts';
import type { LeanOperationId } from '../http/operation-id.ts';
import { OutboundFailure } from '../outbound/outbound-failure.ts';
import type { Log } from '../platform/log.ts';
import { createPaced, type Paced } from '../platform/paced.ts';
import type { ClientRequest } from './client-request.ts';
import type { LimitedEndpoints } from './endpoints.ts';
import { readFormBody } from './form-body.ts';
import { grantTypeOf, grantTypes } from './grant-types.ts';
import { introspectToken } from './introspection-endpoint.ts';
import { revokeToken } from './revocation-endpoint.ts';
import { issueToken, toGrantError } from './token-endpoint.ts';

export interface OauthRoutesDeps {
  endpoints: LimitedEndpoints;
  log: Log;
  /** Counts every answer by its outcome. */
  observe: (operation: LeanOperationId, outcome: string) => void;
  /** Returns the nonce that a DPoP proof needs now. */
  dpopNonce: () => string;
  /** Counts a refusal of an unauthenticated request, with the platform token that it was refused for. */
  countStranger: (address: string, token?: RefusedWorkloadToken) => void;
}

type ListenDeps = OauthRoutesDeps & { later: Paced };

interface Operation {
  id: LeanOperationId;
  /** Throws `overloaded` if the queue is full. Runs before the body is read. */
  admit?: (endpoints: LimitedEndpoints) => void;
  /** Returns the body of a 200 response, or undefined for an empty body. */
  handle: (endpoints: LimitedEndpoints, request: ClientRequest) => Promise<object | undefined>;
  /** Translates an error of `handle` into the one that the client sees. */
  toClientError?: (error: unknown, request: ClientRequest) => unknown;
}

const operations: readonly Operation[] = [
  {
    id: 'issueToken',
    admit: ({ tokens }) => tokens.assertRoom(),
    handle: issueToken,
    toClientError: toGrantError,
  },
  { id: 'introspectToken', handle: introspectToken },
  { id: 'revokeToken', handle: revokeToken },
];

/**
 * Responses to overload are delayed, and sent at most 2,000 a second: one costs nearly as much
 * as a token, and clients that retry at once would take all the time from the admitted requests.
 */
const overloadAnswers = { delayMs: 250, tickMs: 25, perTick: 50, maxWaiting: 4_096 };

/** Creates the listeners of the three form operations. They run before Express, which costs more than they do. */
export function oauthListeners(given: OauthRoutesDeps): ReadonlyMap<string, ExchangeListener> {
  const later = createPaced({ ...overloadAnswers, clock: given.endpoints.clock });
  return new Map(operations.map((operation) => [operation.id, listen({ ...given, later }, operation)]));
}

function listen(deps: ListenDeps, operation: Operation): ExchangeListener {
  const { endpoints } = deps;
  const answer = async (
    request: IncomingMessage,
    response: ServerResponse,
    exchange: Exchange,
  ): Promise<void> => {
    let client: ClientRequest | undefined;
    try {
      endpoints.limits.countAddress(exchange);
      operation.admit?.(endpoints);
      if (request.method !== 'POST') throw new BrokerError('method-not-allowed');
      client = toClientRequest(await readFormBody(request), request, exchange);
      const body = await operation.handle(endpoints, client);
      deps.observe(operation.id, 'success');
      sendJson(response, exchange, { status: 200, body });
    } catch (thrown) {
      const { toClientError } = operation;
      const shown =
        client === undefined || toClientError === undefined ? thrown : toClientError(thrown, client);
      refuse(deps, toBrokerError(shown), { response, exchange, operation: operation.id });
    }
  };
  return (request, response, exchange) => {
    exchange.operation = operation.id;
    // The answer to a proof has the nonce for the next one (RFC 9449 section 8.2).
    if (request.headers.dpop !== undefined) exchange.extra = ['DPoP-Nonce', deps.dpopNonce()];
    void answer(request, response, exchange);
  };
}

/** Parses the form and the client authentication of a request. Throws `invalid-request`, `invalid-target`, `invalid-client`. */
function toClientRequest(body: string, request: IncomingMessage, exchange: Exchange): ClientRequest {
  const form = parseForm(body);
  const credentials = readClientCredentials(request, form, grantTypeOf(form)?.authentication);
  // The same object for both uses, so that the proof is consumed once.
  const dpop = credentials.method === 'client_assertion' ? credentials.dpop : readDpopRequest(request);
  return { form, credentials, dpop, exchange, isCounted: false };
}

function refuse(
  deps: ListenDeps,
  error: BrokerError,
  on: { response: ServerResponse; exchange: Exchange; operation: LeanOperationId },
): void {
  const { response, exchange, operation } = on;
  exchange.code = error.code;
  deps.observe(operation, error.code);
  if (isFailedAuthentication(error, exchange)) {
    // If keys could not be read, neither the client nor other clients at its address have caused it.
    if (!(error.cause instanceof OutboundFailure)) deps.endpoints.limits.countFailure(exchange);
    logReason(deps.log, error, exchange);
  }
  if (isUnauthenticated(error, exchange)) deps.countStranger(exchange.address, error.refusedToken);
  // `overloaded` is not a fault. It is logged without a stack trace, which would cost too much; the log line and a
  // metric show the reason.
  if (isFault(error)) {
    deps.log.error('request failed', { request_id: exchange.requestId, err: error.cause ?? error });
  }
  if (response.headersSent) response.destroy();
  else if (error.code === 'overloaded') deps.later.put(() => sendOauthError(response, exchange, error));
  else sendOauthError(response, exchange, error);
}

/** Logs the reason of a failed authentication, which the client does not see. */
function logReason(log: Log, { internal }: BrokerError, { requestId }: Exchange): void {
  if (internal !== undefined) {
    log.info('client authentication failed', { request_id: requestId, reason: internal });
  }
}

/** The errors of grants that did not authenticate their client. */
const grantFailures: readonly (string | undefined)[] = [...grantTypes.values()].map(
  ({ authentication }) => authentication?.failure,
);

/** Whether the client tried to authenticate and failed. */
function isFailedAuthentication({ code }: BrokerError, { caller }: Exchange): boolean {
  return code === 'invalid-client' || (grantFailures.includes(code) && caller === undefined);
}

/** Whether the refused request is unauthenticated and not counted elsewhere. */
function isUnauthenticated({ code, entry }: BrokerError, { caller }: Exchange): boolean {
  return caller === undefined && entry.status < 500 && code !== 'rate-limited';
}
