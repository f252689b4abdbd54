import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { grantPeriod, lapseTime, matchesTag, narrow } from '../../src/grants/grant.ts';
import { effectiveStatus, type GrantLife, nextBoundary, storedStatuses } from '../../src/grants/liveness.ts';
import { canMove, type GrantStatus, grantStatuses, hasEnded } from '../../src/grants/states.ts';

const at = (seconds: number): Date => new Date(Date.UTC(2026, 2, 2, 10) + seconds * 1000);

function life(changes: Partial<GrantLife> = {}): GrantLife {
  return {
    status: 'active',
    lapsesAt: at(86_400),
    startsAt: at(0),
    expiresAt: at(600),
    epochsEndedAt: null,
    agentExpiresAt: null,
    ...changes,
  };
}

const seconds = fc.integer({ min: -1000, max: 200_000 });
const lives: fc.Arbitrary<GrantLife> = fc.record({
  status: fc.constantFrom(...grantStatuses),
  lapsesAt: seconds.map(at),
  startsAt: fc.option(seconds.map(at)),
  expiresAt: fc.option(seconds.map(at)),
  epochsEndedAt: fc.option(seconds.map(at)),
  agentExpiresAt: fc.option(seconds.map(at)),
});

describe('the states of a grant', () => {
  it('never leave a final state', () => {
    for (const from of grantStatuses.filter(hasEnded)) {
      for (const to of grantStatuses) expect(canMove(from, to)).toBe(false);
    }
  });

  it('are exactly those of the design', () => {
    const moves = grantStatuses.flatMap((from) =>
      grantStatuses.filter((to) => canMove(from, to)).map((to) => `${from}>${to}`),
    );
    expect(moves).toEqual([
      'pending>scheduled',
      'pending>active',
      'pending>denied',
      'pending>cancelled',
      'pending>lapsed',
      'scheduled>active',
      'scheduled>cancelled',
      'scheduled>revoked',
      'active>expired',
      'active>revoked',
      'active>returned',
    ]);
  });
});

describe('the effective status of a grant', () => {
  it.each<[string, Partial<GrantLife>, number, GrantStatus]>([
    ['active until its end', {}, 599.999, 'active'],
    ['expired at its end, not after it', {}, 600, 'expired'],
    ['scheduled before its start', { status: 'scheduled', startsAt: at(10) }, 9.999, 'scheduled'],
    ['active once activated, also by a clock ahead of this one', { startsAt: at(10) }, 9.2, 'active'],
    ['active from its start', { status: 'scheduled', startsAt: at(10) }, 10, 'active'],
    ['revoked once its agent was disabled or its resource deleted', { epochsEndedAt: at(1) }, 1, 'revoked'],
    ['revoked at once, also by a clock behind that', { epochsEndedAt: at(1) }, 0.5, 'revoked'],
    ['denied if that happens while it is pending', { status: 'pending', epochsEndedAt: at(1) }, 1, 'denied'],
    ['revoked, and stays so, when its own time comes after that', { epochsEndedAt: at(1) }, 600, 'revoked'],
    [
      'expired, and stays expired, if the agent is disabled after its end',
      { epochsEndedAt: at(600) },
      601,
      'expired',
    ],
    ['expired with its agent', { agentExpiresAt: at(5) }, 5, 'expired'],
    ['lapsed when nobody decided in time', { status: 'pending' }, 86_400, 'lapsed'],
    ['pending until then', { status: 'pending' }, 86_399, 'pending'],
  ])('is %s', (_what, changes, now, expected) => {
    expect(effectiveStatus(life(changes), at(now))).toBe(expected);
  });

  it('never changes after the end: ended at every later instant, with the same status', () => {
    fc.assert(
      fc.property(lives, seconds, seconds, (grant, one, other) => {
        const [earlier, later] = [Math.min(one, other), Math.max(one, other)];
        const before = effectiveStatus(grant, at(earlier));
        if (hasEnded(before)) expect(effectiveStatus(grant, at(later))).toBe(before);
      }),
    );
  });

  it('is always a status that can follow from the stored one', () => {
    fc.assert(
      fc.property(lives, seconds, (grant, now) => {
        expect(storedStatuses(effectiveStatus(grant, at(now)))).toContain(grant.status);
      }),
    );
  });

  it('does not change between now and the next boundary', () => {
    fc.assert(
      fc.property(lives, seconds, fc.double({ min: 0, max: 0.999, noNaN: true }), (grant, now, part) => {
        const boundary = nextBoundary(grant, at(now)) ?? at(now + 1_000_000);
        const between = new Date(at(now).getTime() + part * (boundary.getTime() - at(now).getTime()));
        expect(effectiveStatus(grant, between)).toBe(effectiveStatus(grant, at(now)));
      }),
    );
  });
});

describe('the period of a grant', () => {
  it('counts from the decision and never outlives its agent', () => {
    const period = { decidedAt: at(0), durationSeconds: 600 };
    expect(grantPeriod({ ...period, agentExpiresAt: null }).expiresAt).toEqual(at(600));
    expect(grantPeriod({ ...period, agentExpiresAt: at(60) }).expiresAt).toEqual(at(60));
    expect(grantPeriod({ ...period, agentExpiresAt: at(6000) }).expiresAt).toEqual(at(600));
  });

  it('waits a day for a decision', () => expect(lapseTime(at(0))).toEqual(at(86_400)));
});

describe('narrowing', () => {
  const terms = { scopes: ['a', 'b', 'c'], durationSeconds: 600 };

  it('keeps the terms that are not given', () => expect(narrow(terms, {})).toEqual(terms));

  it.each([
    ['another scope', { scopes: ['a', 'd'] }],
    ['no scope at all', { scopes: [] }],
    ['more time', { durationSeconds: 601 }],
    ['no time', { durationSeconds: 0 }],
  ])('refuses %s', (_what, asked) => expect(narrow(terms, asked)).toBeUndefined());

  it('never widens, however often it is done', () => {
    const askings = fc.array(
      fc.record({
        scopes: fc.option(fc.subarray(['a', 'b', 'c', 'd']), { nil: undefined }),
        durationSeconds: fc.option(fc.integer({ min: -5, max: 700 }), { nil: undefined }),
      }),
    );
    fc.assert(
      fc.property(askings, (asked) => {
        let now = terms;
        for (const one of asked) {
          const next = narrow(now, one) ?? now;
          expect(next.durationSeconds).toBeLessThanOrEqual(now.durationSeconds);
          expect(now.scopes).toEqual(expect.arrayContaining(next.scopes));
          expect(next.scopes.length).toBeGreaterThan(0);
          now = next;
        }
      }),
    );
  });
});

describe('If-None-Match', () => {
  it.each([
    ['"1.2.3-active"', true],
    ['W/"1.2.3-active"', true],
    ['"x", W/"1.2.3-active"', true],
    ['*', true],
    ['"1.2.3-pending"', false],
    ['1.2.3-active', false],
  ])('%s: %s', (field, expected) => expect(matchesTag(field, '"1.2.3-active"')).toBe(expected));
});
