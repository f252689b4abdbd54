import type { IncomingMessage, RequestListener } from 'node:http';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import { BrokerError } from '../errors.ts';
import { access, mayCall } from './access.ts';
import { type Admission, type AnswerErrorOptions, answerError } from './answer-error.ts';
import { type Authenticator, readCredential } from './authenticate.ts';
import type { CompiledContract } from './compiled-contract.ts';
import { isRouted, type RoutedEntry, toExpressPath } from './contract.ts';
import { createEdge, type EdgeOptions, type Exchange, type ExchangeListener } from './edge.ts';
import { setHeaders } from './headers.ts';
import type { Limits } from './limits.ts';
import type { Handlers } from './operation.ts';
import { pathOf, toOriginForm } from './request-target.ts';
import { subjectOf } from './subject.ts';
import { assertCleanJson, assertCleanText, assertUtf8 } from './well-formed.ts';

export interface AppOptions extends EdgeOptions, AnswerErrorOptions {
  contract: CompiledContract;
  handlers: Handlers;
  authenticate: Authenticator;
  /** Returns the current nonce for DPoP proofs. */
  dpopNonce: () => string;
  limits: Limits;
  /** The paths that bypass Express. */
  lean: ReadonlyMap<string, ExchangeListener>;
}

const bodyLimit = '256kb';

/** Creates the listener for all HTTP requests: the edge, then the lean paths, then Express. */
export function createApp(options: AppOptions): RequestListener {
  const exchanges = new WeakMap<IncomingMessage, Exchange>();
  const app = createExpress(options, (request) => {
    const exchange = exchanges.get(request);
    if (exchange === undefined) throw new BrokerError('internal', { internal: 'request has no exchange' });
    return exchange;
  });
  return createEdge(options, (request, response, exchange) => {
    const { url = '' } = request;
    // A target that equals a lean path, as on nearly every request of the hot path, needs no parsing.
    const target = options.lean.has(url) ? url : toOriginForm(url);
    // Express would respond to a target that it cannot parse without our error handler: give it an unknown path instead.
    request.url = target ?? malformedTarget;
    const lean = options.lean.get(pathOf(request));
    if (lean !== undefined) {
      lean(request, response, exchange);
      return;
    }
    // Node already knows that this response has no body; otherwise HEAD is handled as GET (RFC 9110 section 9.3.2).
    if (request.method === 'HEAD') request.method = 'GET';
    exchanges.set(request, exchange);
    setHeaders(response, exchange.headers);
    response.setHeader('X-Request-Id', exchange.requestId);
    app(request, response);
  });
}

/** Matches no path of the contract, and is never a result of `toOriginForm`. */
const malformedTarget = '/#';

interface Context {
  options: AppOptions;
  exchangeOf: (request: IncomingMessage) => Exchange;
  admissions: WeakMap<IncomingMessage, Admission>;
}

/** Creates the Express app. The handlers are in the order in which a request passes through them. */
function createExpress(options: AppOptions, exchangeOf: Context['exchangeOf']): Express {
  const admissions: Context['admissions'] = new WeakMap();
  const context = { options, exchangeOf, admissions };
  const app = express();
  app
    .disable('x-powered-by')
    .disable('etag')
    .set('query parser', 'simple')
    .set('case sensitive routing', true);
  for (const entry of options.contract.operations.filter(isRouted)) {
    app[entry.method](toExpressPath(entry.path), admit(entry, context));
  }
  app.use(countUnmatched(context));
  app.use(
    express.json({
      limit: bodyLimit,
      type: 'application/json',
      verify: (...[, , body, encoding]) => assertUtf8(body, encoding),
    }),
  );
  app.use(refuseUncleanInput);
  app.use(options.contract.validator);
  app.use(refuseInfinity);
  for (const entry of options.contract.operations.filter(isRouted)) {
    app[entry.method](toExpressPath(entry.path), run(entry, context));
  }
  app.use(() => {
    throw new BrokerError('not-found');
  });
  app.use(answerError(options, context));
  return app;
}

/** Authenticates, rate-limits and authorizes a request before its body is read. */
function admit(entry: RoutedEntry, { options, exchangeOf, admissions }: Context) {
  const { limits } = options;
  return async (request: Request, _response: Response, next: NextFunction): Promise<void> => {
    const exchange = exchangeOf(request);
    exchange.operation = entry.id;
    const allowed: readonly string[] = access[entry.id];
    if (!allowed.includes('anyone')) {
      limits.countAddress(exchange);
      const credential = readCredential(request, exchange);
      if (credential.scheme === 'DPoP') exchange.extra = ['DPoP-Nonce', options.dpopNonce()];
      const caller = await options.authenticate(credential).catch((error: unknown) => {
        if (isForged(error)) limits.countFailure(exchange);
        throw error;
      });
      if (caller === undefined) {
        limits.countFailure(exchange);
        throw new BrokerError('unauthenticated');
      }
      admissions.set(request, { caller, credential, subject: subjectOf(request.params) });
      exchange.caller = caller.id;
      limits.countCaller(exchange, caller.id);
      if (!mayCall(entry.id, caller)) throw new BrokerError('forbidden');
    }
    assertBody(entry, request);
    next();
  };
}

/** Throws unless the body is JSON, or absent where the contract allows that. */
function assertBody({ body }: RoutedEntry, request: Request): void {
  if (body === 'none') return;
  if (hasNoBody(request)) {
    if (body === 'optional') return;
    throw new BrokerError('invalid-request', { detail: 'the request must have a body' });
  }
  if (request.is('application/json') === false) throw new BrokerError('unsupported-media-type');
}

/** Whether a request has no content, by its headers (RFC 9112 section 6.3). */
function hasNoBody({ headers }: Request): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
}

/** Whether a DPoP-bound token was sent without a valid proof of possession of its key. */
function isForged(error: unknown): boolean {
  return error instanceof BrokerError && error.challenge === 'invalid_dpop_proof';
}

/** Rate-limits requests that no route matched. Only the operations that are open to anyone have no rate limit here. */
function countUnmatched({ options, exchangeOf }: Context) {
  return (request: Request, _response: Response, next: NextFunction): void => {
    const exchange = exchangeOf(request);
    if (exchange.operation === 'unmatched') options.limits.countAddress(exchange);
    if (request.url === malformedTarget)
      throw new BrokerError('invalid-request', { detail: 'the request target is not valid' });
    next();
  };
}

function refuseUncleanInput(request: Request, _response: Response, next: NextFunction): void {
  for (const [name, value] of Object.entries(request.query)) {
    if (typeof value !== 'string')
      throw new BrokerError('invalid-request', { detail: `query/${name} is repeated` });
    assertCleanText(value, `query/${name}`);
  }
  let url: string;
  try {
    url = decodeURIComponent(request.url);
  } catch {
    throw new BrokerError('invalid-request', { detail: 'the URL is not percent-encoded UTF-8' });
  }
  assertCleanText(url, 'the URL');
  assertCleanJson(request.body);
  next();
}

/**
 * Refuses infinite numbers in a query: the validator parses `1e400` as Infinity, which passes the bounds of the
 * contract.
 */
function refuseInfinity(request: Request, _response: Response, next: NextFunction): void {
  for (const [name, value] of Object.entries(request.query as Record<string, unknown>)) {
    if (typeof value === 'number' && !Number.isSafeInteger(value))
      throw new BrokerError('invalid-request', { detail: `query/${name} must be integer` });
  }
  next();
}

/**
 * Authenticates and authorizes the caller again after the body has arrived: a client can delay it for long, and
 * meanwhile a role, key or token may have been revoked or expired. Throws `unauthenticated` or `forbidden`.
 */
async function authenticateAgain(
  entry: RoutedEntry,
  request: Request,
  { options, admissions }: Context,
): Promise<void> {
  const admission = admissions.get(request);
  if (entry.body === 'none' || admission === undefined) return;
  const caller = await options.authenticate(admission.credential);
  if (caller?.id !== admission.caller.id) throw new BrokerError('unauthenticated');
  admissions.set(request, { ...admission, caller });
  if (!mayCall(entry.id, caller)) throw new BrokerError('forbidden');
}

/** Runs the handler of an operation on the validated request, and writes its response. */
function run(entry: RoutedEntry, context: Context) {
  const { options, exchangeOf, admissions } = context;
  const handler = options.handlers[entry.id] as (request: unknown) => Promise<{
    status: number;
    body?: unknown;
    headers?: Record<string, string>;
  }>;
  return async (request: Request, response: Response): Promise<void> => {
    await authenticateAgain(entry, request, context);
    const { requestId, address, limits, extra } = exchangeOf(request);
    const aborted = new AbortController();
    response.once('close', () => aborted.abort());
    const answer = await handler({
      path: request.params,
      query: request.query,
      header: Object.fromEntries(entry.headers.map((name) => [name, request.get(name)])),
      body: entry.body === 'optional' ? (request.body ?? {}) : request.body,
      caller: admissions.get(request)?.caller,
      origin: { requestId, address },
      signal: aborted.signal,
    });
    setHeaders(response, limits);
    setHeaders(response, extra);
    response.status(answer.status).set({ 'Cache-Control': 'no-store', ...answer.headers });
    if (answer.body === undefined) response.end();
    else response.json(answer.body);
  };
}
