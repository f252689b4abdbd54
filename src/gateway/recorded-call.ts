import type { IncomingMessage, ServerResponse } from 'node:http';
import type { CallEnd, CallOutcome, NewCall } from '../calls/call.ts';
import type { CallsService } from '../calls/service.ts';
import { BrokerError } from '../errors.ts';
import type { Exchange } from '../http/edge.ts';
import type { UpstreamClient } from '../outbound/upstream-client.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { TokenKey } from '../tokens/verified-tokens.ts';
import type { AuthorizedCall } from './authorize.ts';
import type { CallTarget } from './call-target.ts';
import { forward, type Progress } from './forward.ts';
import type { OpenCalls } from './open-calls.ts';

export interface RecordedCallDeps {
  clock: Clock;
  ids: Ids;
  calls: Pick<CallsService, 'begin' | 'end'>;
  openCalls: Pick<OpenCalls, 'assertRoom' | 'add'>;
  upstreams: Pick<UpstreamClient, 'dispatcherFor'>;
  /** Reads for each token whether what began under it may go on. */
  mayGoOn: (keys: readonly TokenKey[]) => Promise<boolean[]>;
  /** Counts a call by its outcome or the code of its refusal. */
  countCall: (outcome: string) => void;
}

/** A request that the gateway handles, with its response. */
export interface Visit {
  request: IncomingMessage;
  response: ServerResponse;
  exchange: Exchange;
  /** Whether the call has a row. Its outcome is then counted, and not the code of a refusal. */
  isRecorded: boolean;
}

/** A call that may be forwarded, according to the state of the database at `checkedAt`. */
export interface PermittedCall {
  target: CallTarget;
  authorized: AuthorizedCall;
  checkedAt: Date;
}

/** After this time, the state of the token is read again before the upstream is reached. */
const freshMs = 250;

/** Records a call, forwards it, and records how it ended. Throws `overloaded`, `unauthenticated` and the errors of `forward`. */
export async function forwardRecorded(
  deps: RecordedCallDeps,
  visit: Visit,
  call: PermittedCall,
): Promise<void> {
  const { exchange } = visit;
  const { token } = call.authorized;
  deps.openCalls.assertRoom(token.agentId);
  const id = deps.ids.next('call');
  await deps.calls.begin(newCall(deps, visit, { ...call, id }));
  visit.isRecorded = true;
  exchange.extra = [...exchange.extra, 'Hallpass-Call-Id', id];
  const watch = watchCall(deps, visit, token);
  const progress: Progress = {};
  try {
    await assertFresh(deps, call);
    const { target, authorized } = call;
    const { upstream } = authorized;
    const { upstreams } = deps;
    await forward({ ...visit, target, upstream, upstreams, abort: watch.abort }, progress);
  } catch (error) {
    watch.end(isEnded(error) ? 'grant-ended' : 'failed');
    throw error;
  } finally {
    const outcome = watch.stop();
    deps.countCall(outcome);
    deps.calls.end(id, endOf(deps, outcome, progress));
  }
}

/** Throws `unauthenticated` if the grant or the token was ended while the call was recorded, which may have waited for the database. */
async function assertFresh(
  { clock, mayGoOn }: RecordedCallDeps,
  { authorized, checkedAt }: PermittedCall,
): Promise<void> {
  if (clock.now().getTime() - checkedAt.getTime() < freshMs) return;
  const [isActive] = await mayGoOn([authorized.token.key]);
  if (isActive !== true) throw new BrokerError('unauthenticated');
}

const isEnded = (error: unknown): boolean => error instanceof BrokerError && error.code === 'unauthenticated';

/** Follows a call while it is open. */
interface Watch {
  /** Aborted when the call is cut, fails, or the agent has disconnected. */
  abort: AbortController;
  /** Ends the call early, with the first outcome that is given. */
  end(outcome: CallOutcome): void;
  /** Stops following the call. Returns its outcome. */
  stop(): CallOutcome;
}

function watchCall(
  { openCalls }: RecordedCallDeps,
  { request, response }: Visit,
  token: AuthorizedCall['token'],
): Watch {
  const abort = new AbortController();
  let outcome: CallOutcome | undefined;
  const end = (how: CallOutcome): void => {
    outcome ??= how;
    abort.abort();
  };
  const onClose = (): void => {
    if (!response.writableFinished) end('disconnected');
  };
  const { socket } = request;
  // The agent may have gone while the call was recorded.
  if (socket.destroyed) onClose();
  socket.once('close', onClose);
  const { key, agentId } = token;
  const remove = openCalls.add({
    key,
    agentId,
    cut(reason) {
      end(reason);
      socket.destroy();
    },
  });
  return {
    abort,
    end,
    stop() {
      remove();
      socket.off('close', onClose);
      return outcome ?? 'completed';
    },
  };
}

function newCall(
  { clock }: RecordedCallDeps,
  { request, exchange }: Visit,
  { id, target, authorized }: PermittedCall & { id: string },
): NewCall {
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

function endOf(
  { clock }: RecordedCallDeps,
  outcome: CallOutcome,
  { status, request, response }: Progress,
): CallEnd {
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
