import type { IncomingMessage, RequestListener } from 'node:http';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import * as openApiValidator from 'express-openapi-validator';
import type { Caller } from '../caller.ts';
import { BrokerError } from '../errors.ts';
import { access, mayCall } from './access.ts';
import { type AnswerErrorOptions, answerError } from './answer-error.ts';
import { type Authenticator, readBearer } from './authenticate.ts';
import { type Contract, isRouted, type RoutedEntry, toExpressPath } from './contract.ts';
import { isInstant } from './date-time.ts';
import { createEdge, type EdgeOptions, type Exchange, type ExchangeListener } from './edge.ts';
import type { Handlers } from './operation.ts';
import { assertCleanJson, assertCleanText, assertUtf8 } from './well-formed.ts';

export interface AppOptions extends EdgeOptions, AnswerErrorOptions {
  contract: Contract;
  handlers: Handlers;
  authenticate: Authenticator;
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
    request.url = toOriginForm(request.url ?? '');
    const lean = options.lean.get(pathOf(request));
    if (lean !== undefined) {
      lean(request, response, exchange);
      return;
    }
    exchanges.set(request, exchange);
    const { headers } = exchange;
    for (let i = 0; i + 1 < headers.length; i += 2)
      response.setHeader(headers[i] ?? '', headers[i + 1] ?? '');
    app(request, response);
  });
}

/** A server takes the absolute form of a request's target, too (RFC 9112 section 3.2.2); which host it names is no matter. */
function toOriginForm(target: string): string {
  return target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?#]*(?=\/)/i, '');
}

function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '';
  const end = url.indexOf('?');
  return end === -1 ? url : url.slice(0, end);
}

type ExchangeOf = (request: IncomingMessage) => Exchange;

/** Express, in the order a request passes through it. */
function createExpress(options: AppOptions, exchangeOf: ExchangeOf): Express {
  const callers = new WeakMap<IncomingMessage, Caller>();
  const app = express();
  app
    .disable('x-powered-by')
    .disable('etag')
    .set('query parser', 'simple')
    .set('case sensitive routing', true);
  for (const entry of options.contract.operations.filter(isRouted)) {
    app[entry.method](toExpressPath(entry.path), admit({ entry, options, exchangeOf, callers }));
  }
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
    app[entry.method](toExpressPath(entry.path), run({ entry, options, exchangeOf, callers }));
  }
  app.use(() => {
    throw new BrokerError('not-found');
  });
  app.use(answerError(options, { exchangeOf, callers }));
  return app;
}

interface RouteContext {
  entry: RoutedEntry;
  options: AppOptions;
  exchangeOf: ExchangeOf;
  callers: WeakMap<IncomingMessage, Caller>;
}

/** Who is it, and may they call this: before the body is read. */
function admit({ entry, options, exchangeOf, callers }: RouteContext) {
  return async (request: Request, _response: Response, next: NextFunction): Promise<void> => {
    const exchange = exchangeOf(request);
    exchange.operation = entry.id;
    const allowed: readonly string[] = access[entry.id];
    if (!allowed.includes('anyone')) {
      const caller = await options.authenticate(readBearer(request));
      if (caller === undefined) throw new BrokerError('unauthenticated');
      callers.set(request, caller);
      exchange.caller = caller.id;
      if (!mayCall(entry.id, caller)) throw new BrokerError('forbidden');
    }
    if (entry.hasBody && request.is('application/json') === false)
      throw new BrokerError('unsupported-media-type');
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

/** The handler itself, between what the contract lets in and what it lets out. */
function run({ entry, options, exchangeOf, callers }: RouteContext) {
  const handler = options.handlers[entry.id] as (request: unknown) => Promise<{
    status: number;
    body?: unknown;
    headers?: Record<string, string>;
  }>;
  return async (request: Request, response: Response): Promise<void> => {
    const { requestId, address } = exchangeOf(request);
    const aborted = new AbortController();
    response.once('close', () => aborted.abort());
    const answer = await handler({
      path: request.params,
      query: request.query,
      header: Object.fromEntries(entry.headers.map((name) => [name, request.get(name)])),
      body: request.body,
      caller: callers.get(request),
      origin: { requestId, address },
      signal: aborted.signal,
    });
    response.status(answer.status).set({ 'Cache-Control': 'no-store', ...answer.headers });
    if (answer.body === undefined) response.end();
    else response.json(answer.body);
  };
}
