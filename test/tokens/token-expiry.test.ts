import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tokenExpiry, usableUntil } from '../../src/tokens/token-expiry.ts';

const instant = fc.date({
  min: new Date('2026-03-02T00:00:00Z'),
  max: new Date('2026-03-03T00:00:00Z'),
  noInvalidDate: true,
});

describe('the expiry of a token', () => {
  it('is in whole seconds, and never after that of its grant or its agent, or after its lifetime', () => {
    fc.assert(
      fc.property(
        instant,
        fc.integer({ min: 60, max: 900 }),
        fc.array(fc.option(instant)),
        (at, ttl, ends) => {
          const exp = tokenExpiry(at, ttl, ends);
          expect(Number.isInteger(exp)).toBe(true);
          expect(exp * 1000).toBeLessThanOrEqual(at.getTime() + ttl * 1000);
          for (const end of ends) if (end !== null) expect(exp * 1000).toBeLessThanOrEqual(end.getTime());
        },
      ),
    );
  });

  it('is after its issue for every grant that counts as usable', () => {
    fc.assert(
      fc.property(
        instant,
        fc.integer({ min: 60, max: 900 }),
        fc.integer({ min: 0, max: 5000 }),
        (at, ttl, extra) => {
          const end = new Date(usableUntil(at).getTime() + extra);
          expect(tokenExpiry(at, ttl, [end])).toBeGreaterThan(Math.floor(at.getTime() / 1000));
        },
      ),
    );
  });
});
