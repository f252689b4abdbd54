import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { maxApprovals, maxProbedGroups, probe } from '../../src/policies/decision.ts';
import {
  counting,
  engineWith,
  forbidWhen,
  lowRiskAtOnce,
  onePersonAgrees,
  overflows,
  permitAll,
  permitWhen,
  productionDatabases,
  requestOf,
} from './fixtures.ts';

const nobody = { groups: [] };
const someone = { groups: [[]] };
const pol = (index: number) => ({ id: `pol_${index}`, version: 1 });
const denied = (code: string) => expect.objectContaining({ outcome: 'denied', code });

describe('probe', () => {
  it('permits what policy permits without approvals, for any approvals in the facts', () => {
    expect(probe(engineWith(permitAll), requestOf(), nobody)).toEqual({
      outcome: 'permit',
      policies: [pol(0)],
    });
    const facts = requestOf({ context: { approvals: 3, approver_groups: ['security'] } });
    expect(probe(engineWith(onePersonAgrees), facts, someone)).toMatchObject({ outcome: 'pending' });
  });

  it.each([1, 2, 3, 4, 5])('requires the smallest number of approvals: %i', (n) => {
    const engine = engineWith(permitWhen(`context.approvals >= ${n}`));
    expect(probe(engine, requestOf(), someone)).toEqual({
      outcome: 'pending',
      approvalsRequired: n,
      policies: [pol(0)],
    });
  });

  it('denies what would need more than five approvals', () => {
    const engine = engineWith(permitWhen(`context.approvals > ${maxApprovals}`));
    expect(probe(engine, requestOf(), someone)).toEqual(denied('policy-denied'));
  });

  it('denies what policy forbids with any approvals, and names the policy that forbids it', () => {
    const engine = engineWith(permitAll, forbidWhen('resource.kind == "api"'));
    expect(probe(engine, requestOf(), someone)).toEqual({
      outcome: 'denied',
      code: 'policy-denied',
      policies: [pol(1)],
      errors: [],
    });
  });

  it('denies by default', () => {
    expect(probe(engineWith(), requestOf(), someone)).toEqual(denied('policy-denied'));
  });

  describe('with the example policies', () => {
    const engine = engineWith(lowRiskAtOnce, onePersonAgrees, productionDatabases);
    const database = requestOf({ resource: { kind: 'postgres' }, principal: { environment: 'production' } });
    it('requires two approvals for a production database if an eligible approver is in security', () => {
      const result = probe(engine, database, { groups: [['data'], ['data', 'security']] });
      expect(result).toMatchObject({ outcome: 'pending', approvalsRequired: 2 });
    });
    it('denies a production database if no eligible approver is in security', () => {
      expect(probe(engine, database, { groups: [['data'], []] })).toEqual(denied('policy-denied'));
    });
    it('requires one approval for a higher risk', () => {
      const result = probe(engine, requestOf({ context: { max_risk: 'high' } }), someone);
      expect(result).toEqual({ outcome: 'pending', approvalsRequired: 1, policies: [pol(1)] });
    });
  });

  it('tries each group alone, which a policy that forbids another group may need', () => {
    const engine = engineWith(
      onePersonAgrees,
      forbidWhen('context.approvals >= 1 && !context.approver_groups.contains("a")'),
      forbidWhen('context.approver_groups.contains("b")'),
    );
    expect(probe(engine, requestOf(), { groups: [['a', 'b']] })).toMatchObject({ approvalsRequired: 1 });
  });

  it('tries all groups together, which a policy that requires two of them needs', () => {
    const engine = engineWith(
      permitWhen('context.approver_groups.containsAll(["a", "b"]) && context.approvals >= 2'),
    );
    expect(probe(engine, requestOf(), { groups: [['a'], ['b']] })).toMatchObject({ approvalsRequired: 2 });
  });

  it('tries the empty set, which a policy that forbids any group may need', () => {
    const engine = engineWith(permitWhen('context.approvals >= 1 && context.approver_groups.isEmpty()'));
    expect(probe(engine, requestOf(), { groups: [['a'], ['b']] })).toMatchObject({ approvalsRequired: 1 });
  });

  it('tries a group that appears only in a fact', () => {
    const engine = engineWith(
      permitWhen('context.approvals >= 1 && context.approver_groups.containsAny(principal.labels)'),
      forbidWhen('context.approver_groups.contains("zz")'),
    );
    expect(probe(engine, requestOf(), { groups: [['team:data', 'zz']] })).toMatchObject({
      approvalsRequired: 1,
    });
  });

  it('tries a group that appears nowhere', () => {
    const engine = engineWith(
      permitWhen('context.approvals >= 1 && !context.approver_groups.isEmpty()'),
      forbidWhen('context.approver_groups.contains("zz")'),
    );
    expect(probe(engine, requestOf(), { groups: [['q1', 'q2', 'zz']] })).toMatchObject({
      approvalsRequired: 1,
    });
  });

  it('denies with no-eligible-approver only if approvals would suffice and no person may give them', () => {
    expect(probe(engineWith(onePersonAgrees), requestOf(), nobody)).toEqual(denied('no-eligible-approver'));
    expect(probe(engineWith(), requestOf(), nobody)).toEqual(denied('policy-denied'));
  });

  it('denies with policy-error if an evaluation fails, the first or a later one', () => {
    expect(probe(engineWith(permitAll, forbidWhen(overflows)), requestOf(), someone)).toEqual(
      denied('policy-error'),
    );
    const later = engineWith(
      permitWhen('context.approvals >= 3'),
      forbidWhen(`context.approvals == 2 && ${overflows}`),
    );
    const result = probe(later, requestOf(), someone);
    expect(result).toMatchObject({ code: 'policy-error', policies: [pol(1)] });
    expect(result).toHaveProperty('errors.length', 1);
  });

  it('evaluates a bounded number of times, for any number of groups and people', () => {
    const names = Array.from({ length: 100 }, (_, i) => `g${String(i).padStart(3, '0')}`);
    const people = { groups: Array.from({ length: 200 }, () => names) };
    const most = (sets: number) => 1 + maxApprovals * sets;
    const plain = counting(engineWith(permitWhen('false')));
    probe(plain.engine, requestOf(), people);
    expect(plain.count()).toBe(most(3));
    const named = counting(engineWith(permitWhen(`${JSON.stringify(names)}.containsAll(["x"])`)));
    probe(named.engine, requestOf(), people);
    expect(named.count()).toBe(most(maxProbedGroups + 2));
  });

  it('agrees with an exhaustive search', () => {
    const names = ['a', 'b', 'c', 'd'];
    const group = fc.constantFrom(...names);
    const condition = fc.oneof(
      fc.integer({ min: 0, max: 6 }).map((n) => `context.approvals >= ${n}`),
      fc.integer({ min: 1, max: 5 }).map((n) => `context.approvals != ${n}`),
      group.map((g) => `context.approver_groups.contains("${g}")`),
      group.map((g) => `!context.approver_groups.contains("${g}")`),
    );
    const statement = fc
      .tuple(fc.boolean(), fc.array(condition, { minLength: 1, maxLength: 3 }))
      .map(([permits, all]) => (permits ? permitWhen : forbidWhen)(all.join(' && ')));
    const people = fc.array(fc.uniqueArray(group), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(fc.array(statement, { maxLength: 4 }), people, (texts, groups) => {
        const engine = engineWith(...texts);
        const all = [...new Set(groups.flat())];
        const sets = [[], ...all.map((g) => [g]), all];
        const counts = [0, 1, 2, 3, 4, 5].filter((n) =>
          (n === 0 ? [[]] : sets).some(
            (set) =>
              engine.decide(requestOf({ context: { approvals: n, approver_groups: set } })).decision ===
              'permit',
          ),
        );
        const result = probe(engine, requestOf(), { groups });
        const found =
          result.outcome === 'pending'
            ? result.approvalsRequired
            : result.outcome === 'permit'
              ? 0
              : undefined;
        expect(found).toBe(counts[0]);
      }),
      { numRuns: 60 },
    );
  });
});
