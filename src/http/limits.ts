import { networkOf } from '../platform/address.ts';
import type { Clock } from '../platform/clock.ts';
import type { Exchange } from './edge.ts';
import { createRateLimiter, type RateDecision, type RateLimiter } from './rate-limit.ts';

/**
 * Whether requests are counted by network address (with IPv6, by /64) or by authenticated agent, person or resource
 * server.
 */
export type LimitScope = 'address' | 'caller';

/**
 * Error thrown when a rate limit is exceeded. It is not a BrokerError until the response is written: each refusal
 * that is a BrokerError may write an audit event, whereas rate-limited requests are only counted.
 */
export class RateLimited extends Error {
  readonly scope: LimitScope;
  readonly retryAfterSeconds: number;

  constructor(scope: LimitScope, retryAfterSeconds: number) {
    super(`too many requests from this ${scope}`);
    this.name = 'RateLimited';
    this.scope = scope;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/**
 * Each method that counts a request throws `RateLimited` if the limit is exceeded, and sets the rate limit headers of
 * the response.
 */
export interface Limits {
  /** Counts a request by its address. Called before any other work is done for the request. */
  countAddress(exchange: Exchange): void;
  /** Counts a request by its authenticated caller. Called directly after authentication. */
  countCaller(exchange: Exchange, callerId: string): void;
  /** Counts a failed authentication as ten requests from its address. Never throws. */
  countFailure(exchange: Exchange): void;
}

export interface LimitsDeps {
  clock: Clock;
  /** `off`: requests are not counted, and responses have no rate limit headers. */
  perSecond: number | 'off';
  /** Called for every request that exceeds a limit. */
  onLimited: (scope: LimitScope, address: string) => void;
}

/**
 * A wrong credential is the most expensive request that an unauthenticated client can send: no cache avoids its
 * look-up.
 */
const requestsOfFailure = 10;

const noLimits: Limits = { countAddress() {}, countCaller() {}, countFailure() {} };

/**
 * Formats an item of `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10). `t` agrees with `Retry-After` if that is
 * sent.
 */
function describe(scope: LimitScope, decision: RateDecision): string {
  const { allowed, remaining, resetSeconds, retryAfterSeconds } = decision;
  return `"${scope}";r=${remaining};t=${allowed ? resetSeconds : retryAfterSeconds}`;
}

/**
 * Creates the rate limits of one replica. Each replica counts separately, so N replicas allow at most N times the
 * rate.
 */
export function createLimits({ clock, perSecond, onLimited }: LimitsDeps): Limits {
  if (perSecond === 'off') return noLimits;
  const limiters: Record<LimitScope, RateLimiter> = {
    address: createRateLimiter({ clock, perSecond }),
    caller: createRateLimiter({ clock, perSecond }),
  };
  const policy = (['address', 'caller'] as const).map((scope) => `"${scope}";q=${perSecond};w=1`).join(', ');

  function count(exchange: Exchange, scope: LimitScope, key: string): void {
    const decision = limiters[scope].take(key);
    const before = exchange.limits.at(-1);
    const item = describe(scope, decision);
    const all = before === undefined ? item : `${before}, ${item}`;
    exchange.limits = ['RateLimit-Policy', policy, 'RateLimit', all];
    if (decision.allowed) return;
    // At the token endpoint the exchange has no caller yet: set it for the log.
    if (scope === 'caller') exchange.caller = key;
    onLimited(scope, exchange.address);
    throw new RateLimited(scope, decision.retryAfterSeconds);
  }

  return {
    countAddress: (exchange) => count(exchange, 'address', networkOf(exchange.address)),
    countCaller: (exchange, callerId) => count(exchange, 'caller', callerId),
    countFailure: (exchange) => limiters.address.charge(networkOf(exchange.address), requestsOfFailure - 1),
  };
}
