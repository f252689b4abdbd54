import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRateLimiter } from '../../src/http/rate-limit.ts';
import { FakeClock } from '../support/fake-clock.ts';

function limiter(perSecond: number) {
  const clock = new FakeClock();
  return { clock, limiter: createRateLimiter({ clock, perSecond }) };
}

describe('the rate limiter', () => {
  it('allows a burst of one second, refuses further requests, and states when the next one is allowed', () => {
    const { clock, limiter: rate } = limiter(5);
    const decisions = Array.from({ length: 6 }, () => rate.take('a'));
    expect(decisions.map(({ allowed }) => allowed)).toEqual([true, true, true, true, true, false]);
    expect(decisions.map(({ remaining }) => remaining)).toEqual([4, 3, 2, 1, 0, 0]);
    expect(decisions[0]).toMatchObject({ resetSeconds: 1, retryAfterSeconds: 0 });
    expect(decisions[5]).toMatchObject({ resetSeconds: 1, retryAfterSeconds: 1 });
    clock.advance(0.199);
    expect(rate.take('a').allowed).toBe(false);
    clock.advance(0.001);
    expect(rate.take('a').allowed).toBe(true);
    expect(rate.take('a').allowed).toBe(false);
  });

  it('counts each key separately', () => {
    const { limiter: rate } = limiter(1);
    expect(rate.take('a').allowed).toBe(true);
    expect(rate.take('a').allowed).toBe(false);
    expect(rate.take('b').allowed).toBe(true);
  });

  it.each([1, 3, 7, 100, 9999, 10_000])('allows exactly %i per second, for ten seconds', (perSecond) => {
    const { clock, limiter: rate } = limiter(perSecond);
    const passed = () => {
      let count = 0;
      while (rate.take('a').allowed) count += 1;
      return count;
    };
    let total = passed();
    expect(total).toBe(perSecond);
    for (let ms = 0; ms < 10_000; ms += 1) {
      clock.advance(0.001);
      total += passed();
    }
    expect(total).toBe(perSecond * 11);
  });

  it('charges more than is available, and blocks no key for more than two seconds', () => {
    const { clock, limiter: rate } = limiter(10);
    rate.charge('a', 4);
    expect(rate.take('a').remaining).toBe(5);
    rate.charge('a', 20);
    expect(rate.take('a')).toMatchObject({ allowed: false, remaining: 0, retryAfterSeconds: 2 });
    rate.charge('a', 1_000_000);
    expect(rate.take('a')).toMatchObject({ allowed: false, resetSeconds: 2, retryAfterSeconds: 2 });
    clock.advance(1);
    expect(rate.take('a').allowed).toBe(false);
    clock.advance(0.1);
    expect(rate.take('a').allowed).toBe(true);
  });

  it('is not affected by a clock that is set back, or far ahead', () => {
    const { clock, limiter: rate } = limiter(2);
    expect([rate.take('a'), rate.take('a'), rate.take('a')].map(({ allowed }) => allowed)).toEqual([
      true,
      true,
      false,
    ]);
    clock.advance(-3600);
    expect(rate.take('a')).toMatchObject({ allowed: false, retryAfterSeconds: 1 });
    clock.advance(0.5);
    expect(rate.take('a').allowed).toBe(true);
    expect(rate.take('a').allowed).toBe(false);
    clock.advance(10 * 365 * 86_400);
    expect([rate.take('a'), rate.take('a'), rate.take('a')].map(({ allowed }) => allowed)).toEqual([
      true,
      true,
      false,
    ]);
  });

  it('remembers a bounded number of keys, including the most recently used ones, under any flood', () => {
    const { clock, limiter: rate } = limiter(1);
    let largest = 0;
    rate.take('victim');
    for (let n = 0; n < 1_000_000; n += 1) {
      rate.take(`address ${n}`);
      if (n % 10_000 === 0) {
        expect(rate.take('victim').allowed).toBe(false);
        largest = Math.max(largest, rate.size);
      }
    }
    expect(largest).toBeLessThanOrEqual(100_000);
    expect(rate.size).toBeLessThanOrEqual(100_000);
    clock.advance(20);
    rate.take('a');
    clock.advance(20);
    rate.take('a');
    expect(rate.size).toBe(1);
  });

  it('does not forget a key that is in debt', () => {
    const { clock, limiter: rate } = limiter(10);
    clock.advance(1.9);
    rate.charge('a', 1000);
    for (let tenths = 1; tenths < 10; tenths += 1) {
      clock.advance(0.1);
      rate.take('other');
    }
    expect(rate.take('a').allowed).toBe(false);
    clock.advance(0.2);
    expect(rate.take('a').allowed).toBe(true);
  });
});

/** Creates a plain token bucket, as a model with which the limiter must agree. */
function createNaiveModel(perSecond: number) {
  const buckets = new Map<string, number>();
  const full = perSecond * 1000;
  const of = (key: string): number => buckets.get(key) ?? full;
  return {
    pass(ms: number) {
      if (ms > 0)
        for (const [key, level] of buckets) buckets.set(key, Math.min(full, level + ms * perSecond));
    },
    take(key: string): boolean {
      const allowed = of(key) >= 1000;
      if (allowed) buckets.set(key, of(key) - 1000);
      return allowed;
    },
    charge: (key: string, count: number) =>
      buckets.set(key, Math.max(of(key) - count * 1000, full - 2 * full)),
    remaining: (key: string): number => Math.max(Math.floor(of(key) / 1000), 0),
  };
}

const key = fc.constantFrom('a', 'b', 'c');
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ what: fc.constant('take' as const), key }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('charge' as const), key, count: fc.nat(30) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      what: fc.constant('pass' as const),
      ms: fc.oneof(fc.nat(300), fc.integer({ min: -20_000, max: 20_000 })),
    }),
  },
);

describe('for any sequence of requests, while the clock advances or is set back', () => {
  it('the limiter decides as a token bucket does', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.array(step, { maxLength: 200 }), (perSecond, steps) => {
        const { clock, limiter: rate } = limiter(perSecond);
        const model = createNaiveModel(perSecond);
        for (const one of steps) {
          if (one.what === 'pass') {
            clock.advance(one.ms / 1000);
            // The limiter must be called to notice that time had passed before the clock was set back.
            rate.charge('nobody', 0);
            model.pass(one.ms);
          } else if (one.what === 'charge') {
            rate.charge(one.key, one.count);
            model.charge(one.key, one.count);
          } else {
            const { allowed, remaining, retryAfterSeconds } = rate.take(one.key);
            expect(allowed).toBe(model.take(one.key));
            expect(remaining).toBe(model.remaining(one.key));
            expect(retryAfterSeconds > 0).toBe(!allowed);
          }
        }
      }),
    );
  });

  it('a request after Retry-After is allowed', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), fc.nat(2000), (perSecond, charged) => {
        const { clock, limiter: rate } = limiter(perSecond);
        rate.charge('a', charged);
        const { allowed, retryAfterSeconds } = rate.take('a');
        if (allowed) return;
        clock.advance(retryAfterSeconds);
        expect(rate.take('a').allowed).toBe(true);
      }),
    );
  });
});
