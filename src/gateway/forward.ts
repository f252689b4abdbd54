import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { BrokerError } from '../errors.ts';
import type { Exchange } from '../http/edge.ts';
import { OutboundFailure } from '../outbound/outbound-failure.ts';
import type { UpstreamClient } from '../outbound/upstream-client.ts';
import type { FoundUpstream } from '../resources/upstreams/service.ts';
import { BodyRecord, RequestBody, sendBody } from './bodies.ts';
import type { CallTarget } from './call-target.ts';
import { onlyValue, toAgentHeaders, toUpstreamHeaders, valuesOf } from './forwarded-headers.ts';
import { createSecretFilter, echoesOf, maskText } from './secret-filter.ts';

/** The largest body of a request. */
export const maxRequestBytes = 32 * 1024 * 1024;

export interface Forwarding {
  request: IncomingMessage;
  response: ServerResponse;
  target: CallTarget;
  upstream: FoundUpstream;
  upstreams: Pick<UpstreamClient, 'dispatcherFor'>;
  /** Aborted when the call is cut or the agent has disconnected, and by `forward` when the upstream does not respond in time. */
  abort: AbortController;
  exchange: Pick<Exchange, 'limits' | 'extra'>;
}

/** What was forwarded so far. */
export interface Progress {
  /** The status of the upstream. */
  status?: number;
  request?: BodyRecord;
  response?: BodyRecord;
}

/**
 * Sends a call to the upstream and its response to the agent, with backpressure in both directions. Until the response begins, throws
 * `content-too-large`, `upstream-failed` and `upstream-timeout`. After that, any error destroys the connection of the agent, so that a
 * part of a response never looks complete.
 */
export async function forward(forwarding: Forwarding, progress: Progress): Promise<void> {
  const { request, response, target, upstream, abort } = forwarding;
  const { credential, echoes } = openCredential(upstream);
  const { origin, pathname } = new URL(upstream.baseUrl);
  const base = pathname === '/' ? '' : pathname;
  const body = requestBody(request);
  if (body !== undefined) progress.request = body.record;
  const length = request.headers['content-length'];
  const lengthHeader = body === undefined || length === undefined ? [] : ['Content-Length', length];
  const uploadMs = body === undefined ? 1_000 : longestUploadMs;
  // undici starts its timeout again at each informational response, and stops it while a body is sent.
  const limit = setTimeout(
    () => abort.abort(new BrokerError('upstream-timeout')),
    uploadMs + upstream.responseSeconds * 1000,
  );
  const send = async () =>
    forwarding.upstreams.dispatcherFor(upstream).request({
      origin,
      path: `${base}${target.path}${target.query}`,
      method: (request.method ?? 'GET') as Dispatcher.HttpMethod,
      headers: [...toUpstreamHeaders(request.rawHeaders, credential), ...lengthHeader],
      body: body ?? null,
      signal: abort.signal,
      responseHeaders: 'raw',
    });
  const answer = await send()
    .catch((error: unknown) => {
      throw toGatewayError(error, body);
    })
    .finally(() => clearTimeout(limit));
  progress.status = answer.statusCode;
  // It may fail when nothing reads it any more. Without a listener, the error would end the process.
  answer.body.on('error', () => {});
  const rawHeaders = toTexts(answer.headers as unknown as (Buffer | string)[]);
  const problem = responseProblem(answer.statusCode, rawHeaders);
  if (problem !== undefined) {
    answer.body.destroy();
    throw new BrokerError('upstream-failed', { detail: problem });
  }
  const record = new BodyRecord();
  progress.response = record;
  beginResponse(forwarding, answer.statusCode, toResponseHeaders(rawHeaders, echoes));
  await sendBody(answer.body, response, { filter: createSecretFilter(echoes), record });
  // The upstream may have answered before it had the whole body.
  request.unpipe();
  request.resume();
}

/** The HTTP server waits no longer than this for a complete request. */
const longestUploadMs = 30_000;

function toResponseHeaders(rawHeaders: readonly string[], echoes: readonly Buffer[]): string[] {
  const headers = toAgentHeaders(rawHeaders).map((text) => maskText(text, echoes));
  const length = onlyValue(rawHeaders, 'content-length');
  return length === undefined ? headers : [...headers, 'Content-Length', length];
}

/** Sends the head of the response. From then on, an agent that reads nothing for `idleSeconds` is disconnected. */
function beginResponse(
  { request, response, exchange, upstream }: Forwarding,
  status: number,
  headers: readonly string[],
): void {
  // Otherwise the rest of the request could be taken for the next one.
  const connection = request.complete ? [] : ['Connection', 'close'];
  response.writeHead(status, [...headers, ...exchange.limits, ...exchange.extra, ...connection]);
  request.socket.setTimeout(upstream.idleSeconds * 1000);
}

/** Returns the header that authenticates the gateway to the upstream, and the forms in which a response could echo it. */
function openCredential({ credential, secret }: FoundUpstream): {
  credential: [name: string, value: string] | undefined;
  echoes: Buffer[];
} {
  if (credential.type === 'none' || secret === null) return { credential: undefined, echoes: [] };
  const echoes = echoesOf([secret]);
  switch (credential.type) {
    case 'bearer':
      return { credential: ['Authorization', `Bearer ${secret}`], echoes };
    case 'header':
      return { credential: [credential.name, secret], echoes };
    case 'basic': {
      const pair = Buffer.from(`${credential.username}:${secret}`).toString('base64');
      return { credential: ['Authorization', `Basic ${pair}`], echoes: [...echoes, ...echoesOf([pair])] };
    }
  }
}

/** Returns the body of a request as a stream that fails when it is too large; undefined if the request has none. */
function requestBody(request: IncomingMessage): RequestBody | undefined {
  const length = request.headers['content-length'];
  if (length !== undefined && Number(length) > maxRequestBytes) throw new BrokerError('content-too-large');
  const hasBody = request.headers['transfer-encoding'] !== undefined || Number(length ?? 0) > 0;
  return hasBody ? request.pipe(new RequestBody(maxRequestBytes)) : undefined;
}

const toTexts = (rawHeaders: readonly (Buffer | string)[]): string[] =>
  rawHeaders.map((part) => (typeof part === 'string' ? part : part.toString('latin1')));

/** Describes why a response cannot be passed on; undefined if it can. */
function responseProblem(status: number, rawHeaders: readonly string[]): string | undefined {
  if (status >= 300 && status < 400 && status !== 304) return 'the upstream redirected the call';
  const isEncoded =
    valuesOf(rawHeaders, 'content-encoding').some((coding) => coding !== 'identity') ||
    valuesOf(rawHeaders, 'transfer-encoding').some((coding) => coding !== 'chunked');
  return isEncoded ? 'the upstream compressed its response' : undefined;
}

const timeouts: ReadonlySet<string> = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
]);

function toGatewayError(error: unknown, body: RequestBody | undefined): unknown {
  if (body?.errored instanceof BrokerError) return body.errored;
  if (error instanceof BrokerError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (timeouts.has(code)) return new BrokerError('upstream-timeout', { cause: error });
  const problem = error instanceof OutboundFailure ? error.problem : 'not-connected';
  return new BrokerError('upstream-failed', {
    cause: error,
    detail: `the upstream could not be reached: ${problem}`,
  });
}
