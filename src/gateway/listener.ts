import type { RequestListener } from 'node:http';
import { BrokerError, isFault } from '../errors.ts';
import { type ChallengeTerms, challengeOf } from '../http/authenticate.ts';
import { createEdge, type EdgeOptions } from '../http/edge.ts';
import { sendProblem, toBrokerError } from '../http/error-response.ts';
import { headerValues } from '../http/header-values.ts';
import { setHeaders } from '../http/headers.ts';
import type { Limits } from '../http/limits.ts';
import { type AuthorizeDeps, authorizeCall } from './authorize.ts';
import { parseCallTarget } from './call-target.ts';
import { forwardRecorded, type RecordedCallDeps, type Visit } from './recorded-call.ts';

export interface GatewayDeps extends EdgeOptions, AuthorizeDeps, RecordedCallDeps {
  /** The origin of the gateway. */
  url: string;
  limits: Limits;
  /** Returns the current nonce for DPoP proofs. */
  dpopNonce: () => string;
  challenge: ChallengeTerms;
  isReady: () => Promise<boolean>;
  /** Counts a request that failed authentication. */
  countStranger: (address: string) => void;
}

/** Creates the listener of the gateway. It uses no Express, and parses no body. */
export function createGateway(deps: GatewayDeps): RequestListener {
  const hosts = hostsOf(deps.url);
  return createEdge(deps, (request, response, exchange) => {
    const visit = { request, response, exchange, isRecorded: false };
    answer(deps, hosts, visit).catch((error: unknown) => refuse(deps, visit, error));
  });
}

/** Returns the values of `Host` by which the gateway is addressed. A gateway on loopback has several names. */
function hostsOf(url: string): ReadonlySet<string> {
  const { hostname, host, port } = new URL(url);
  const local = ['localhost', '127.0.0.1', '[::1]'];
  if (!local.includes(hostname)) return new Set([host, port === '' ? `${hostname}:443` : host]);
  return new Set(local.map((name) => (port === '' ? name : `${name}:${port}`)));
}

async function answer(deps: GatewayDeps, hosts: ReadonlySet<string>, visit: Visit): Promise<void> {
  const { request, response, exchange } = visit;
  if (request.method === 'GET' && (request.url === '/healthz' || request.url === '/readyz')) {
    exchange.operation = request.url.slice(1);
    const isWell = request.url === '/healthz' || (await deps.isReady());
    if (!isWell) throw new BrokerError('unavailable');
    response
      .writeHead(200, [...exchange.headers, 'Content-Type', 'text/plain', 'Cache-Control', 'no-store'])
      .end('ok\n');
    return;
  }
  exchange.operation = 'gateway';
  if (request.headers.dpop !== undefined) exchange.extra = ['DPoP-Nonce', deps.dpopNonce()];
  deps.limits.countAddress(exchange);
  const problem = requestProblem(visit);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
  if (!hosts.has((request.headers.host ?? '').toLowerCase())) throw new BrokerError('misdirected-request');
  const target = parseCallTarget(request.url ?? '');
  if (!target.ok) throw new BrokerError('invalid-request', { detail: target.problem });
  const checkedAt = deps.clock.now();
  const authorized = await authorizeCall(deps, request, target);
  exchange.caller = authorized.token.agentId;
  deps.limits.countCaller(exchange, authorized.token.agentId);
  await forwardRecorded(deps, visit, { target, authorized, checkedAt });
}

/** Describes why a request is refused, regardless of its target; undefined if it is not. */
function requestProblem({ request, response }: Visit): string | undefined {
  // HTTP/1.0 has no chunks, so a response that is cut would look complete.
  if (request.httpVersion !== '1.1') return 'the gateway requires HTTP/1.1';
  // Its response waits for that of an earlier request, and would not notice that the agent has gone.
  if (response.socket === null) return 'the gateway does not accept pipelined requests';
  // Node would use the first one. RFC 9112 section 3.2 requires that the request is refused.
  if (headerValues(request, 'host').length > 1) return 'the request has several Host headers';
  return request.headers.upgrade === undefined ? undefined : 'the gateway does not switch protocols';
}

function refuse(deps: GatewayDeps, visit: Visit, thrown: unknown): void {
  const { request, response, exchange } = visit;
  // The connection has ended or is cut, or a part of the response was sent, which must not look complete.
  if (response.destroyed || response.headersSent) {
    response.destroy();
    return;
  }
  const error = toBrokerError(thrown);
  exchange.code = error.code;
  if (error.code === 'unauthenticated' && error.challenge !== 'use_dpop_nonce') {
    deps.limits.countFailure(exchange);
    deps.countStranger(exchange.address);
  }
  if (isFault(error))
    deps.log.error('request failed', { request_id: exchange.requestId, err: error.cause ?? error });
  if (!visit.isRecorded) deps.countCall(error.code);
  setHeaders(response, exchange.headers);
  setHeaders(response, exchange.limits);
  setHeaders(response, exchange.extra);
  response.setHeader('X-Request-Id', exchange.requestId);
  // What is left of the body is not read: the connection ends with this response.
  if (!request.complete || response.socket === null) response.setHeader('Connection', 'close');
  if (error.entry.status === 401)
    response.setHeader('WWW-Authenticate', challengeOf(request, error, deps.challenge));
  sendProblem(response, error, exchange.requestId);
}
