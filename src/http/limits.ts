import { networkOf } from '../platform/address.ts';
import type { Clock } from '../platform/clock.ts';
import type { Exchange } from './edge.ts';
import { createRateLimiter, type RateDecision, type RateLimiter } from './rate-limit.ts';

/** Whose requests are counted: those of an address (of a /64, with IPv6), or of an agent, person or resource server. */
export type LimitScope = 'address' | 'caller';

/**
 * Somebody asks more often than they may. No BrokerError until it is answered: it goes past whatever puts refusals on
 * the record one by one, because it is counted instead.
 */
export class RateLimited extends Error {
  readonly scope: LimitScope;
  readonly retryAfterSeconds: number;

  constructor(scope: LimitScope, retryAfterSeconds: number) {
    super(`too many requests of this ${scope}`);
    this.name = 'RateLimited';
    this.scope = scope;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Each throws `RateLimited`, and puts what is left into the answer's headers. */
export interface Limits {
  /** Counts a request of the exchange's address: before anything is done for it. */
  countAddress(exchange: Exchange): void;
  /** Counts a request of somebody who has proved who they are: right after that. */
  countCaller(exchange: Exchange, callerId: string): void;
  /** A credential was no good: counts as ten requests of its address. Never throws. */
  countFailure(exchange: Exchange): void;
}

export interface LimitsDeps {
  clock: Clock;
  /** `off`: nothing is counted, and no headers tell of it. */
  perSecond: number | 'off';
  /** Told of every refusal. */
  onLimited: (scope: LimitScope, address: string) => void;
}

/** With a look-up that no cache can spare us, a wrong credential is what a stranger can make us do that costs most. */
const requestsOfFailure = 10;

const noLimits: Limits = { countAddress() {}, countCaller() {}, countFailure() {} };

/** An item of `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): `t` agrees with `Retry-After` where there is one. */
function describe(scope: LimitScope, decision: RateDecision): string {
  const { allowed, remaining, resetSeconds, retryAfterSeconds } = decision;
  return `"${scope}";r=${remaining};t=${allowed ? resetSeconds : retryAfterSeconds}`;
}

/** The limits of one replica: each counts for itself, so N of them let through at most N times as much. */
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
    // At the token endpoint nobody has been named yet, and the log should say who it is.
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
