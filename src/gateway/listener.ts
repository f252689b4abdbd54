import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { CallOutcome } from '../calls/call.ts';
import type { CallsService } from '../calls/service.ts';
import { BrokerError, isFault } from '../errors.ts';
import { type ChallengeTerms, challengeOf } from '../http/authenticate.ts';
import { createEdge, type EdgeOptions, type Exchange } from '../http/edge.ts';
import { sendProblem, toBrokerError } from '../http/error-response.ts';
import { headerValues } from '../http/header-values.ts';
import { setHeaders } from '../http/headers.ts';
import type { Limits } from '../http/limits.ts';
import type { UpstreamClient } from '../outbound/upstream-client.ts';
import { type AuthorizeDeps, type AuthorizedCall, authorizeCall } from './authorize.ts';
import { type CallTarget, parseCallTarget } from './call-target.ts';
import { forward, type Progress } from './forward.ts';
import type { OpenCalls } from './open-calls.ts';

export interface GatewayDeps extends EdgeOptions, AuthorizeDeps {
  /** The origin of the gateway. */
  url: string;
  limits: Limits;
  calls: Pick<CallsService, 'begin' | 'end'>;
  openCalls: OpenCalls;
  upstreams: Pick<UpstreamClient, 'dispatcherFor'>;
  /** Returns the current nonce for DPoP proofs. */
  dpopNonce: () => string;
  challenge: ChallengeTerms;
  isReady: () => Promise<boolean>;
  /** Counts a request that failed authentication. */
  countStranger: (address: string) => void;
  /** Counts a call that was forwarded or refused, by its outcome or error code. */
  countCall: (outcome: string) => void;
}

/** A request at the gateway. */
interface Visit {
  request: IncomingMessage;
  response: ServerResponse;
  exchange: Exchange;
  /** Whether the call was recorded, so that its outcome is counted. */
  isCall: boolean;
}

/** Creates the listener of the gateway. It uses no Express, and parses no body. */
export function createGateway(deps: GatewayDeps): RequestListener {
  const hosts = hostsOf(deps.url);
  return createEdge(deps, (request, response, exchange) => {
    const visit = { request, response, exchange, isCall: false };
    answer(deps, hosts, visit).catch((error: unknown) => refuse(deps, visit, error));
  });
}

/** Returns the values of `Host` by which the gateway is addressed. A gateway on loopback has several names. */
function hostsOf(url: string): ReadonlySet<string> {
  const { hostname, host, port } = new URL(url);
  const local = ['localhost', '127.0.0.1', '[::1]'];
  if (!local.includes(hostname)) return new Set([host]);
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
  // Node keeps the first of several (RFC 9112 section 3.2).
  const [host = '', ...more] = headerValues(request, 'host');
  if (more.length > 0) throw new BrokerError('invalid-request', { detail: 'several Host headers' });
  if (!hosts.has(host.toLowerCase())) throw new BrokerError('misdirected-request');
  if (request.headers.upgrade !== undefined)
    throw new BrokerError('invalid-request', { detail: 'the gateway does not switch protocols' });
  const target = parseCallTarget(request.url ?? '');
  if (!target.ok) throw new BrokerError('invalid-request', { detail: target.problem });
  const authorized = await authorizeCall(deps, request, target);
  exchange.caller = authorized.token.agentId;
  deps.limits.countCaller(exchange, authorized.token.agentId);
  await forwardRecorded(deps, visit, { target, authorized });
}

/** Records a call, forwards it, and records how it ended. */
async function forwardRecorded(
  deps: GatewayDeps,
  visit: Visit,
  { target, authorized }: { target: CallTarget; authorized: AuthorizedCall },
): Promise<void> {
  const { request, response, exchange } = visit;
  const { token, upstream } = authorized;
  const id = deps.ids.next('call');
  await deps.calls.begin(newCall(deps, visit, { id, target, authorized }));
  visit.isCall = true;
  const ending = new AbortController();
  let outcome: CallOutcome = 'completed';
  const end = (how: CallOutcome): void => {
    if (ending.signal.aborted) return;
    outcome = how;
    ending.abort();
  };
  const onClose = (): void => {
    if (!response.writableFinished) end('disconnected');
  };
  // The agent may have gone while the call was recorded.
  if (response.destroyed) onClose();
  response.once('close', onClose);
  const remove = deps.openCalls.add({
    key: token.key,
    cut(reason) {
      end(reason);
      response.destroy();
    },
  });
  const progress: Progress = {};
  const headers = ['Hallpass-Call-Id', id, ...exchange.limits, ...exchange.extra];
  try {
    await forward(
      { request, response, target, upstream, upstreams: deps.upstreams, signal: ending.signal, headers },
      progress,
    );
  } catch (error) {
    end('failed');
    throw error;
  } finally {
    remove();
    response.off('close', onClose);
    deps.countCall(outcome);
    await deps.calls.end(id, endOf(deps, outcome, progress)).catch((error: unknown) => {
      deps.log.error('the outcome of a call could not be recorded', { call_id: id, err: error });
    });
  }
}

function newCall(
  { clock }: GatewayDeps,
  { request, exchange }: Visit,
  { id, target, authorized }: { id: string; target: CallTarget; authorized: AuthorizedCall },
) {
  const { token, upstream, scope } = authorized;
  const { claims, agentId } = token;
  return {
    ...{ id, scope, agentId, requestId: exchange.requestId, at: clock.now() },
    grantId: claims.grant_id ?? '',
    tokenId: claims.jti,
    actors: claims.act ?? null,
    resourceId: upstream.resourceId,
    method: request.method ?? '',
    path: target.path,
  };
}

function endOf({ clock }: GatewayDeps, outcome: CallOutcome, { status, request, response }: Progress) {
  return {
    endedAt: clock.now(),
    outcome,
    upstreamStatus: status ?? null,
    requestBytes: request?.bytes ?? 0,
    requestSha256: request?.digest() ?? null,
    responseBytes: response?.bytes ?? 0,
    responseSha256: response?.digest() ?? null,
  };
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
  if (!visit.isCall) deps.countCall(error.code);
  setHeaders(response, exchange.headers);
  setHeaders(response, exchange.limits);
  setHeaders(response, exchange.extra);
  response.setHeader('X-Request-Id', exchange.requestId);
  // What is left of the body is not read: the connection ends with this response.
  if (!request.complete) response.setHeader('Connection', 'close');
  if (error.entry.status === 401)
    response.setHeader('WWW-Authenticate', challengeOf(request, error, deps.challenge));
  sendProblem(response, error, exchange.requestId);
}
