import type { ClientCredentials } from '../client-auth/client-credentials.ts';
import type { DpopRequest } from '../client-auth/dpop/dpop-request.ts';
import type { Exchange } from '../http/edge.ts';
import type { Form } from '../http/form-encoding.ts';
import type { Limits } from '../http/limits.ts';

/** A form request of a client: its parameters and its client authentication, parsed but not verified. */
export interface ClientRequest {
  form: Form;
  credentials: ClientCredentials;
  dpop: DpopRequest;
  /** The HTTP exchange, which is also the origin in audit events. */
  exchange: Exchange;
  /** Whether the request has been counted against the client's rate limit. */
  isCounted: boolean;
}

/** Counts the request against the client's rate limit, once. Throws `RateLimited`. */
export function countClient(limits: Limits, request: ClientRequest, clientId: string): void {
  if (request.isCounted) return;
  request.isCounted = true;
  limits.countCaller(request.exchange, clientId);
}

/** Sets the authenticated client of the log line, and counts the request. Throws `RateLimited`. */
export function identifyClient(limits: Limits, request: ClientRequest, clientId: string): void {
  request.exchange.caller = clientId;
  countClient(limits, request, clientId);
}
