import type { IncomingMessage, RequestListener } from 'node:http';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import * as openApiValidator from 'express-openapi-validator';
import { BrokerError } from '../errors.ts';
import { access, mayCall } from './access.ts';
import { type Admission, type AnswerErrorOptions, answerError } from './answer-error.ts';
import { type Authenticator, readCredential } from './authenticate.ts';
import { type Contract, isRouted, type RoutedEntry, toExpressPath } from './contract.ts';
import { isInstant } from './date-time.ts';
import { createEdge, type EdgeOptions, type Exchange, type ExchangeListener } from './edge.ts';
import { setHeaders } from './headers.ts';
import type { Limits } from './limits.ts';
import type { Handlers } from './operation.ts';
import { pathOf, toOriginForm } from './request-target.ts';
import { subjectOf } from './subject.ts';
import { assertCleanJson, assertCleanText, assertUtf8 } from './well-formed.ts';

export interface AppOptions extends EdgeOptions, AnswerErrorOptions {
  contract: Contract;
  handlers: Handlers;
  authenticate: Authenticator;
  /** The nonce that a DPoP proof is to have now. */
  dpopNonce: () => string;
  limits: Limits;
  /** Paths that are answered before Express. */
  lean: ReadonlyMap<string, ExchangeListener>;
  /** Throw on answers that break the contract (tests). */
  validateResponses: boolean;
}

const bodyLimit = '256kb';

/** The whole HTTP surface as one listener: edge, then the lean paths, then Express. */
export function createApp(options: AppOptions): RequestListener {
  const exchanges = new WeakMap<IncomingMessage, Exchange>();
  const app = createExpress(options, (request) => {
    const exchange = exchanges.get(request);
    if (exchange === undefined)
      throw new BrokerError('internal', { internal: 'a request without an exchange' });
    return exchange;
  });
  return createEdge(options, (request, response, exchange) => {
    const { url = '' } = request;
    // A path by itself, as nearly every request of the hot path has it, needs no second look.
    const target = options.lean.has(url) ? url : toOriginForm(url);
    // Express would answer what it cannot parse by itself, past every handler of ours: it gets a path that is nowhere.
    request.url = target ?? malformedTarget;
    const lean = options.lean.get(pathOf(request));
    if (lean !== undefined) {
      lean(request, response, exchange);
      return;
    }
    // Node has noted by now that the answer has no body; all else of it is as for GET (RFC 9110 section 9.3.2).
    if (request.method === 'HEAD') request.method = 'GET';
    exchanges.set(request, exchange);
    setHeaders(response, exchange.headers);
    response.setHeader('X-Request-Id', exchange.requestId);
    app(request, response);
  });
}

/** No path of the contract, and no target that `toOriginForm` answers. */
const malformedTarget = '/#';

interface Context {
  options: AppOptions;
  exchangeOf: (request: IncomingMessage) => Exchange;
  admissions: WeakMap<IncomingMessage, Admission>;
}

/** Express, in the order a request passes through it. */
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
  app.use(
    openApiValidator.middleware({
      apiSpec: structuredClone(options.contract.document) as never,
      validateRequests: { allowUnknownQueryParameters: false },
      validateResponses: options.validateResponses,
      validateSecurity: false,
      validateApiSpec: false,
      formats: { 'date-time': { type: 'string', validate: isInstant } },
    }),
  );
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

/** Who is it, and may they call this, as often as they do: before the body is read. */
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
    if (entry.hasBody && request.is('application/json') === false)
      throw new BrokerError('unsupported-media-type');
    next();
  };
}

/** Whether somebody shows a token whose key they cannot prove to hold. */
function isForged(error: unknown): boolean {
  return error instanceof BrokerError && error.challenge === 'invalid_dpop_proof';
}

/** What no route took is limited, too; only probes and discovery are not. */
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

/** The validator makes Infinity of `1e400` in a query, and no bound of the contract holds that back. */
function refuseInfinity(request: Request, _response: Response, next: NextFunction): void {
  for (const [name, value] of Object.entries(request.query as Record<string, unknown>)) {
    if (typeof value === 'number' && !Number.isSafeInteger(value))
      throw new BrokerError('invalid-request', { detail: `query/${name} must be integer` });
  }
  next();
}

/**
 * Who calls, once more, now that the body has arrived: a client can keep it back for long, and a role, key or token that
 * ended meanwhile is gone. Throws `unauthenticated` or `forbidden`.
 */
async function readmit(
  entry: RoutedEntry,
  request: Request,
  { options, admissions }: Context,
): Promise<void> {
  const admission = admissions.get(request);
  if (!entry.hasBody || admission === undefined) return;
  const caller = await options.authenticate(admission.credential);
  if (caller?.id !== admission.caller.id) throw new BrokerError('unauthenticated');
  admissions.set(request, { ...admission, caller });
  if (!mayCall(entry.id, caller)) throw new BrokerError('forbidden');
}

/** The handler itself, between what the contract lets in and what it lets out. */
function run(entry: RoutedEntry, context: Context) {
  const { options, exchangeOf, admissions } = context;
  const handler = options.handlers[entry.id] as (request: unknown) => Promise<{
    status: number;
    body?: unknown;
    headers?: Record<string, string>;
  }>;
  return async (request: Request, response: Response): Promise<void> => {
    await readmit(entry, request, context);
    const { requestId, address, limits, extra } = exchangeOf(request);
    const aborted = new AbortController();
    response.once('close', () => aborted.abort());
    const answer = await handler({
      path: request.params,
      query: request.query,
      header: Object.fromEntries(entry.headers.map((name) => [name, request.get(name)])),
      body: request.body,
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
