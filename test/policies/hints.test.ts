import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { maxRisk, type Risk } from '../../src/grants/facts.ts';
import { probe } from '../../src/policies/decision.ts';
import type { PolicyEngine } from '../../src/policies/engine.ts';
import { hints, maxHintEvaluations } from '../../src/policies/hints.ts';
import {
  counting,
  engineWith,
  forbidWhen,
  lowRiskAtOnce,
  onePersonAgrees,
  overflows,
  permitAll,
  permitWhen,
  requestOf,
} from './fixtures.ts';

const risks = new Map<string, Risk>([
  ['read', 'low'],
  ['list', 'low'],
  ['write', 'medium'],
  ['drop', 'high'],
  ...['s1', 's2', 's3', 's4', 's5', 's6'].map((scope): [string, Risk] => [scope, 'low']),
]);
const nobody = { groups: [] };
const someone = { groups: [['a']] };

const asking = (scopes: string[], seconds: number) =>
  requestOf({ context: { scopes, max_risk: maxRisk(scopes, risks), duration_seconds: seconds } });
const hintsFor = (
  engine: PolicyEngine,
  scopes: string[],
  seconds: number,
  eligible: typeof someone = nobody,
) => hints(engine, asking(scopes, seconds), { eligible, risks });

describe('hints', () => {
  it('name the longest standard duration that is permitted, if only the duration was too long', () => {
    expect(hintsFor(engineWith(lowRiskAtOnce), ['read', 'list'], 7200)).toEqual([
      { scopes: ['read', 'list'], duration_seconds: 900, approvals_required: 0 },
    ]);
  });

  it('name the scopes that are permitted for the requested duration, if only scopes were too many', () => {
    expect(
      hintsFor(engineWith(permitWhen('context.max_risk != "high"')), ['drop', 'write', 'read'], 7200),
    ).toEqual([{ scopes: ['write', 'read'], duration_seconds: 7200, approvals_required: 0 }]);
  });

  it('name fewer scopes for a shorter duration, if both are necessary', () => {
    expect(hintsFor(engineWith(lowRiskAtOnce), ['write', 'read'], 3600)).toEqual([
      { scopes: ['read'], duration_seconds: 900, approvals_required: 0 },
    ]);
  });

  it('find the scopes that policy names', () => {
    const engine = engineWith(permitWhen('["read", "drop"].containsAll(context.scopes)'));
    expect(hintsFor(engine, ['read', 'write', 'list', 'drop'], 600)).toEqual([
      { scopes: ['read', 'drop'], duration_seconds: 600, approvals_required: 0 },
    ]);
  });

  it('name first what approvals would permit, if that is more than what is permitted at once', () => {
    const engine = engineWith(
      lowRiskAtOnce,
      permitWhen('context.approvals >= 2 && context.duration_seconds <= 3600'),
    );
    expect(hintsFor(engine, ['read'], 86_400, someone)).toEqual([
      { scopes: ['read'], duration_seconds: 3600, approvals_required: 2 },
      { scopes: ['read'], duration_seconds: 900, approvals_required: 0 },
    ]);
    expect(hintsFor(engine, ['read'], 86_400)).toEqual([
      { scopes: ['read'], duration_seconds: 900, approvals_required: 0 },
    ]);
  });

  it('use the risk of the part, not of the whole request', () => {
    const engine = engineWith(permitAll, forbidWhen('context.max_risk == "high"'));
    expect(hintsFor(engine, ['read', 'drop'], 60)).toEqual([
      { scopes: ['read'], duration_seconds: 60, approvals_required: 0 },
    ]);
  });

  it('are empty if no part would be permitted', () => {
    expect(hintsFor(engineWith(), ['read', 'drop'], 3600, someone)).toEqual([]);
    expect(hintsFor(engineWith(onePersonAgrees), ['read'], 60)).toEqual([]);
  });

  it('never name a part whose evaluation fails', () => {
    expect(hintsFor(engineWith(permitAll, forbidWhen(overflows)), ['read', 'drop'], 3600, someone)).toEqual(
      [],
    );
  });

  it('split many scopes by risk', () => {
    const engine = engineWith(permitWhen('context.max_risk == "low"'));
    expect(hintsFor(engine, ['s1', 's2', 'drop', 's3', 'write', 's4'], 600)).toEqual([
      { scopes: ['s1', 's2', 's3', 's4'], duration_seconds: 600, approvals_required: 0 },
    ]);
  });

  it('are correct parts of the request, are deterministic, and cost at most 16 evaluations', () => {
    const scope = fc.constantFrom(...risks.keys());
    const condition = fc.oneof(
      fc.constantFrom('low', 'medium').map((risk) => `context.max_risk == "${risk}"`),
      fc.constantFrom(60, 300, 1000, 5000).map((seconds) => `context.duration_seconds <= ${seconds}`),
      fc.integer({ min: 0, max: 5 }).map((n) => `context.approvals >= ${n}`),
      fc
        .uniqueArray(scope, { minLength: 1 })
        .map((set) => `${JSON.stringify(set)}.containsAll(context.scopes)`),
      scope.map((one) => `!context.scopes.contains("${one}")`),
    );
    const statement = fc
      .tuple(fc.integer({ min: 0, max: 3 }), fc.array(condition, { minLength: 1, maxLength: 3 }))
      .map(([kind, all]) => (kind === 0 ? forbidWhen : permitWhen)(all.join(' && ')));
    fc.assert(
      fc.property(
        fc.array(statement, { maxLength: 4 }),
        fc.uniqueArray(scope, { minLength: 1, maxLength: 8 }),
        fc.constantFrom(30, 60, 600, 4000, 90_000),
        fc.constantFrom(nobody, someone),
        (texts, scopes, seconds, eligible) => {
          const { engine, count } = counting(engineWith(...texts));
          if (probe(engine, asking(scopes, seconds), eligible).outcome !== 'denied') return;
          const before = count();
          const found = hintsFor(engine, scopes, seconds, eligible);
          expect(count() - before).toBeLessThanOrEqual(maxHintEvaluations);
          expect(hintsFor(engine, scopes, seconds, eligible)).toEqual(found);
          expect(found.length).toBeLessThanOrEqual(3);
          for (const hint of found) {
            expect(hint.scopes.length).toBeGreaterThan(0);
            expect(scopes).toEqual(expect.arrayContaining(hint.scopes));
            expect(hint.duration_seconds).toBeLessThanOrEqual(seconds);
            const result = probe(engine, asking(hint.scopes, hint.duration_seconds), eligible);
            const needed = result.outcome === 'pending' ? result.approvalsRequired : 0;
            expect(result.outcome).not.toBe('denied');
            expect(needed).toBeLessThanOrEqual(hint.approvals_required);
          }
        },
      ),
      { numRuns: 100 },
    );
  });
});
