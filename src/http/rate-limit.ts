import type { Clock } from '../platform/clock.ts';

/** What became of a request, and what its sender may still do. */
export interface RateDecision {
  allowed: boolean;
  /** How many more requests would pass now. */
  remaining: number;
  /** Whole seconds until the whole burst is there again. */
  resetSeconds: number;
  /** Whole seconds after which a request passes again; 0 if one passes now. */
  retryAfterSeconds: number;
}

export interface RateLimiter {
  /** Counts a request of `key`; one that is refused does not count. */
  take(key: string): RateDecision;
  /** Counts `count` requests more of `key`, whether or not they would have passed. */
  charge(key: string, count: number): void;
  /** How many keys are remembered. */
  readonly size: number;
}

const maxKeys = 100_000;
/** Nobody is shut out for longer than this, whatever is charged: others may share an address with who guesses. */
const longestDebtMs = 2_000;
/** What one request takes: with `perSecond` units to the millisecond, all is whole numbers and exact. */
const unitsOfRequest = 1000;

/** When a key's allowance is whole again, in units of the limiter's own time. */
interface Allowance {
  wholeAt: number;
}

/** The limiter's own time, in units: a clock that is set back takes nothing away and gives nothing back. */
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

/** Allowances in two halves, so that what is old is forgotten as a whole and looking one up costs one operation. */
function createAllowances(longestDebt: number) {
  let recent = new Map<string, Allowance>();
  let older = new Map<string, Allowance>();
  let turnedAt = 0;
  return {
    size: () => recent.size + older.size,
    of(key: string, time: number): Allowance {
      // What was in `older` has not been used for longer than any debt lasts: it is whole, as if it were new.
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
 * `perSecond` requests a second (1 to 10,000) for each key, and as many at once after a quiet second: the generic cell
 * rate algorithm (ITU-T I.371 annex A), one number a key. At most 100,000 keys are remembered; beyond that the ones that
 * were quiet longest are forgotten, which can only let their next requests pass.
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
