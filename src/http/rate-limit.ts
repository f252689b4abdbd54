import type { Clock } from '../platform/clock.ts';

/** Whether a request is allowed, and what the limit allows next. */
export interface RateDecision {
  allowed: boolean;
  /** The number of further requests that would be allowed now. */
  remaining: number;
  /** Whole seconds until a full burst is allowed again. */
  resetSeconds: number;
  /** Whole seconds until the next request is allowed; 0 if it is allowed now. */
  retryAfterSeconds: number;
}

export interface RateLimiter {
  /** Counts a request of `key`. A refused request does not count. */
  take(key: string): RateDecision;
  /** Adds `count` requests to `key`, whether or not the limit would allow them. */
  charge(key: string, count: number): void;
  /** The number of keys in memory. */
  readonly size: number;
}

const maxKeys = 100_000;
/**
 * The longest time for which `charge` can block a key: clients with valid credentials may share the address of an
 * attacker.
 */
const longestDebtMs = 2_000;
/**
 * The cost of one request. `perSecond` units are earned per millisecond, so that all arithmetic is exact in whole
 * numbers.
 */
const unitsOfRequest = 1000;

/** The state of a key: when a full burst is allowed again, in units of the limiter's own time. */
interface Allowance {
  wholeAt: number;
}

/** Creates the limiter's own time, in units, which never runs backwards when the clock is set back. */
function createTime(clock: Clock, perSecond: number): () => number {
  let readAt = clock.now().getTime();
  let units = 0;
  return () => {
    const now = clock.now().getTime();
    if (now > readAt) units += (now - readAt) * perSecond;
    readAt = now;
    return units;
  };
}

/**
 * Keeps the allowances in two generations, so that old keys are dropped all at once and a look-up costs one
 * operation.
 */
function createAllowances(longestDebt: number) {
  let recent = new Map<string, Allowance>();
  let older = new Map<string, Allowance>();
  let turnedAt = 0;
  return {
    size: () => recent.size + older.size,
    of(key: string, time: number): Allowance {
      // The keys in `older` have been unused for longer than any debt lasts, so they may be forgotten.
      if (time - turnedAt >= longestDebt || recent.size >= maxKeys / 2) {
        older = recent;
        recent = new Map();
        turnedAt = time;
      }
      const known = recent.get(key);
      if (known !== undefined) return known;
      const allowance = older.get(key) ?? { wholeAt: time };
      older.delete(key);
      recent.set(key, allowance);
      return allowance;
    },
  };
}

/**
 * Creates a rate limiter that allows `perSecond` requests per second (1 to 10,000) for each key, and a burst of that
 * size after an idle second. Implements the generic cell rate algorithm (ITU-T I.371 annex A) with one number per
 * key. Remembers at most 100,000 keys; beyond that it forgets those that were idle longest, which can only allow more
 * requests.
 */
export function createRateLimiter({ clock, perSecond }: { clock: Clock; perSecond: number }): RateLimiter {
  const burst = perSecond * unitsOfRequest;
  const longestDebt = longestDebtMs * perSecond;
  const readTime = createTime(clock, perSecond);
  const allowances = createAllowances(longestDebt);
  const seconds = (units: number): number => Math.ceil(units / burst);
  return {
    get size() {
      return allowances.size();
    },
    take(key) {
      const time = readTime();
      const allowance = allowances.of(key, time);
      const used = Math.max(allowance.wholeAt - time, 0);
      const allowed = used + unitsOfRequest <= burst;
      const left = allowed ? used + unitsOfRequest : used;
      allowance.wholeAt = time + left;
      return {
        allowed,
        remaining: Math.max(Math.floor((burst - left) / unitsOfRequest), 0),
        resetSeconds: seconds(left),
        retryAfterSeconds: allowed ? 0 : seconds(left + unitsOfRequest - burst),
      };
    },
    charge(key, count) {
      const time = readTime();
      const allowance = allowances.of(key, time);
      const used = Math.max(allowance.wholeAt - time, 0);
      allowance.wholeAt = time + Math.min(used + count * unitsOfRequest, longestDebt);
    },
  };
}
