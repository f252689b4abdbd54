import type { IncomingMessage, ServerResponse } from 'node:http';
import { BrokerError, type ErrorCode } from '../errors.ts';
import type { Exchange, ExchangeListener } from '../http/edge.ts';
import { toBrokerError } from '../http/error-response.ts';
import { headerValues } from '../http/header-values.ts';
import type { Limits } from '../http/limits.ts';
import { sendJson, sendOauthError } from '../http/oauth-response.ts';
import type { LeanOperationId } from '../http/operation-id.ts';
import { pathOf } from '../http/request-target.ts';
import { OutboundFailure } from '../outbound/outbound-failure.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import { createPaced, type Paced } from '../platform/paced.ts';
import {
  type ClientCredentials,
  exchangeGrant,
  jwtBearerGrant,
  readClientCredentials,
} from './clients/client-credentials.ts';
import {
  type ExchangeRequest,
  issuedTokenType,
  readExchange,
  readOwnExchange,
} from './exchange/exchange-request.ts';
import { type Form, parseForm, readFormBody } from './form.ts';
import type { Issuer } from './issuer.ts';
import type { TokenResponse } from './mint.ts';
import type { OauthCall } from './oauth-call.ts';
import type { OauthService } from './service.ts';
import { readTokenRequest, type TokenRequest } from './token-request.ts';

export interface OauthRoutesDeps {
  clock: Clock;
  oauth: OauthService;
  issuer: Issuer;
  log: Log;
  limits: Limits;
  /** Told of every answer: what became of it, and why not. */
  observe: (operation: LeanOperationId, outcome: string) => void;
  /** The nonce that a DPoP proof is to have now. */
  dpopNonce: () => string;
  /** Counts a refusal of somebody who did not authenticate. */
  countStranger: (address: string) => void;
}

interface Call extends OauthCall {
  form: Form;
  /** Counts the request of a client that has authenticated, the first time that it is called. */
  count: (clientId: string) => void;
}

type ListenDeps = OauthRoutesDeps & { later: Paced };

interface Handler {
  /** Throws if there is no room for the request now: asked before any more of it is read. */
  admit?: () => void;
  /** Answers the body of a 200; undefined: it has none. */
  handle: (call: Call) => Promise<object | undefined>;
  /** What is answered for an error of `handle`. */
  asTold?: (error: unknown, call: Call) => unknown;
}

/**
 * Who is sent away because too much waits is told so a while later, at most 2,000 a second. To answer costs nearly what a
 * token costs, and who asks again at once would take all the time from those who were let in.
 */
const sendingAway = { delayMs: 250, tickMs: 25, perTick: 50, maxWaiting: 4_096 };

/** The form-only operations, answered before Express: they are what the broker does all day. */
export function oauthListeners(given: OauthRoutesDeps): Record<LeanOperationId, ExchangeListener> {
  const deps = { ...given, later: createPaced({ ...sendingAway, clock: given.clock }) };
  const { oauth, issuer } = deps;
  return {
    issueToken: listen(deps, 'issueToken', {
      admit: () => oauth.assertRoom(),
      async handle(call) {
        const token = await oauth.issue(call, (clientId) => {
          // What is asked for is looked at right after authentication, and before anything is written.
          call.count(clientId);
          return readRequest(call, issuer);
        });
        return asAnswer(token, call.form);
      },
      asTold,
    }),
    introspectToken: listen(deps, 'introspectToken', {
      handle: (call) => oauth.introspect(call, readToken(call.form)),
    }),
    revokeToken: listen(deps, 'revokeToken', {
      handle: async (call) => {
        await oauth.revoke(call, readToken(call.form));
        return undefined;
      },
    }),
  };
}

/** An exchange is of another token by a client that has authenticated, or of the token that proves the client. */
function readRequest({ form, credentials }: Call, issuer: string): TokenRequest | ExchangeRequest {
  if (issuedTokenType(form) === undefined) return readTokenRequest(form, issuer);
  const isOwn = isProvedBy(credentials, form.get('subject_token'));
  return isOwn ? readOwnExchange(form, issuer) : readExchange(form);
}

function isProvedBy(credentials: ClientCredentials, token: string | undefined): boolean {
  return credentials.method === 'client_assertion' && credentials.assertion === token;
}

function asAnswer(token: TokenResponse, form: Form): TokenResponse {
  const issued_token_type = issuedTokenType(form);
  return issued_token_type === undefined ? token : { ...token, issued_token_type };
}

/** What proves a client and is a grant, or is exchanged, fails as that (RFC 7523 section 3.1, RFC 8693 section 2.2.2). */
const provingFailures: ReadonlyMap<string | undefined, { parameter: string; code: ErrorCode }> = new Map([
  [jwtBearerGrant, { parameter: 'assertion', code: 'invalid-grant' }],
  [exchangeGrant, { parameter: 'subject_token', code: 'invalid-subject-token' }],
]);

function asTold(error: unknown, { form, credentials }: Call): unknown {
  const failure = provingFailures.get(form.get('grant_type'));
  const isProof =
    failure !== undefined &&
    !form.has('client_assertion') &&
    isProvedBy(credentials, form.get(failure.parameter));
  const code = isProof ? failure.code : undefined;
  if (code === undefined || !(error instanceof BrokerError) || error.code !== 'invalid-client') return error;
  const { internal, cause } = error;
  const detail = 'the assertion is not good';
  return new BrokerError(code, { detail, cause, ...(internal === undefined ? {} : { internal }) });
}

function readToken(form: Form): string {
  const token = form.get('token');
  if (token === undefined) throw new BrokerError('invalid-request', { detail: 'token is missing' });
  return token;
}

/** Reads the form of a request that is counted. */
function readForm(
  { limits, admit }: { limits: Limits; admit: () => void },
  request: IncomingMessage,
  exchange: Exchange,
): Promise<string> {
  limits.countAddress(exchange);
  admit();
  if (request.method !== 'POST') throw new BrokerError('method-not-allowed');
  return readFormBody(request);
}

const none: readonly string[] = [];

function toCall(
  limits: Limits,
  form: Form,
  { request, exchange }: { request: IncomingMessage; exchange: Exchange },
): Call {
  const credentials = readClientCredentials(request, form);
  let counted = false;
  const count = (clientId: string): void => {
    if (counted) return;
    counted = true;
    limits.countCaller(exchange, clientId);
  };
  const identified = (clientId: string): void => {
    exchange.caller = clientId;
    count(clientId);
  };
  const proofs = request.headers.dpop === undefined ? none : headerValues(request, 'dpop');
  const dpop = { proofs, method: 'POST', path: pathOf(request) };
  return { credentials, form, dpop, origin: exchange, count, identified };
}

function listen(
  deps: ListenDeps,
  operation: LeanOperationId,
  { admit = () => {}, handle, asTold: tell = (error) => error }: Handler,
): ExchangeListener {
  const { limits } = deps;
  const answer = async (
    request: IncomingMessage,
    response: ServerResponse,
    exchange: Exchange,
  ): Promise<void> => {
    let call: Call | undefined;
    try {
      const form = parseForm(await readForm({ limits, admit }, request, exchange));
      call = toCall(limits, form, { request, exchange });
      const body = await handle(call);
      deps.observe(operation, 'success');
      sendJson(response, exchange, { status: 200, body });
    } catch (thrown) {
      const error = toBrokerError(call === undefined ? thrown : tell(thrown, call));
      refuse(deps, error, { response, exchange, operation });
    }
  };
  return (request, response, exchange) => {
    exchange.operation = operation;
    // Who sends a proof is told what the next one needs (RFC 9449 section 8.2).
    if (request.headers.dpop !== undefined) exchange.extra = ['DPoP-Nonce', deps.dpopNonce()];
    void answer(request, response, exchange);
  };
}

function refuse(
  deps: ListenDeps,
  error: BrokerError,
  on: { response: ServerResponse; exchange: Exchange; operation: LeanOperationId },
): void {
  const { response, exchange, operation } = on;
  exchange.code = error.code;
  deps.observe(operation, error.code);
  if (isUnproved(error, exchange)) {
    // Whose keys we could not read has done nothing wrong, nor have others at that address.
    if (!(error.cause instanceof OutboundFailure)) deps.limits.countFailure(exchange);
    tellWhy(deps.log, error, exchange);
  }
  if (isStrangers(error, exchange)) deps.countStranger(exchange.address);
  // Overload must not cost a stack trace for each who is sent away; their log line and figure say why.
  if (error.entry.status >= 500 && error.code !== 'overloaded') {
    deps.log.error('request failed', { request_id: exchange.requestId, err: error.cause ?? error });
  }
  if (response.headersSent) response.destroy();
  else if (error.code === 'overloaded') deps.later.put(() => sendOauthError(response, exchange, error));
  else sendOauthError(response, exchange, error);
}

/** What the caller is not told, whoever runs the broker has to find out. */
function tellWhy(log: Log, { internal }: BrokerError, { requestId }: Exchange): void {
  if (internal !== undefined) {
    log.info('a client was not authenticated', { request_id: requestId, reason: internal });
  }
}

const provingCodes: readonly string[] = [...provingFailures.values()].map(({ code }) => code);

/** Whether somebody tried to prove who they are and could not. */
function isUnproved({ code }: BrokerError, { caller }: Exchange): boolean {
  return code === 'invalid-client' || (provingCodes.includes(code) && caller === undefined);
}

/** Whether nobody has authenticated and no one else counts this refusal. */
function isStrangers({ code, entry }: BrokerError, { caller }: Exchange): boolean {
  return caller === undefined && entry.status < 500 && code !== 'rate-limited';
}
