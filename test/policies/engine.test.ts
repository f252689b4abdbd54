import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSystemRandom } from '../../src/platform/random.ts';
import { createPolicyEngine } from '../../src/policies/engine.ts';
import {
  type Changes,
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

const pol = (index: number, version = 1) => ({ id: `pol_${index}`, version });
const newEngine = () => createPolicyEngine({ random: createSystemRandom() });

describe('a decision', () => {
  it('is deny if no policy permits', () => {
    expect(engineWith().decide(requestOf())).toEqual({ decision: 'deny', policies: [], errors: [] });
    expect(engineWith(permitWhen('context.approvals >= 1')).decide(requestOf()).decision).toBe('deny');
  });

  it('is an error before any policies are loaded', () => {
    expect(newEngine().decide(requestOf()).decision).toBe('error');
    expect(newEngine().epoch).toBeUndefined();
  });

  it('names every policy that permits, once even if several of its statements do', () => {
    const engine = engineWith(`${permitAll}\n${permitAll}`, permitWhen('false'), permitAll);
    expect(engine.decide(requestOf())).toEqual({
      decision: 'permit',
      policies: [pol(0), pol(2)],
      errors: [],
    });
  });

  it('is deny if one policy forbids, and names that policy', () => {
    const engine = engineWith(permitAll, `${permitAll}\n${forbidWhen('context.has_ticket == false')}`);
    expect(engine.decide(requestOf())).toEqual({ decision: 'deny', policies: [pol(1)], errors: [] });
    expect(engine.decide(requestOf({ context: { has_ticket: true } })).decision).toBe('permit');
  });

  it('is an error, not a permit, if a policy that forbids fails', () => {
    const { decision, policies, errors } = engineWith(permitAll, forbidWhen(overflows)).decide(requestOf());
    expect(decision).toBe('error');
    expect(policies).toEqual([pol(1)]);
    expect(errors).toEqual([expect.stringMatching(/^pol_1@1 statement 1: .*overflow/)]);
  });

  it('is an error if a permit policy fails, even if another one permits', () => {
    expect(engineWith(permitAll, permitWhen(overflows)).decide(requestOf()).decision).toBe('error');
  });

  it('can use the agent, its owner and the resource', () => {
    const engine = engineWith(`permit(
      principal == Agent::"agt_1", action == Action::"request", resource == Resource::"https://api.example/"
    ) when { principal in Owner::"adm_owner" && principal.labels.contains("team:data") && principal.name == "reporter"
      && resource.labels.contains("internal") && resource.kind == "api" };`);
    expect(engine.decide(requestOf()).decision).toBe('permit');
    const others: Changes[] = [
      { principal: { id: 'agt_2' } },
      { principal: { owner: 'adm_2' } },
      { principal: { labels: [] } },
      { resource: { identifier: 'https://api.example/x' } },
      { resource: { labels: [] } },
    ];
    for (const other of others) expect(engine.decide(requestOf(other)).decision).toBe('deny');
  });

  it.each([
    ['203.0.113.7', 'permit'],
    ['::ffff:203.0.113.7', 'permit'],
    ['198.51.100.1', 'deny'],
    ['2001:db8::1%eth0', 'permit'],
  ])('has the address %s in normal form: %s', (address, expected) => {
    const engine = engineWith(
      permitWhen('context.source_ip.isInRange(ip("203.0.113.0/24"))'),
      permitWhen('context.source_ip.isInRange(ip("2001:db8::/32"))'),
    );
    expect(engine.decide(requestOf({ context: { source_ip: address } })).decision).toBe(expected);
  });

  it.each([
    undefined,
    null,
    'unix:',
    '',
  ])('leaves out an address that is %j; a policy that reads it fails', (address) => {
    const request = requestOf({ context: { source_ip: address } });
    expect(engineWith(permitAll).decide(request).decision).toBe('permit');
    expect(engineWith(permitAll, forbidWhen('!context.source_ip.isIpv4()')).decide(request).decision).toBe(
      'error',
    );
    expect(engineWith(permitWhen('!(context has source_ip)')).decide(request).decision).toBe('permit');
  });
});

describe('the example policies', () => {
  const engine = engineWith(lowRiskAtOnce, onePersonAgrees, productionDatabases);
  const database = { resource: { kind: 'postgres' }, principal: { environment: 'production' } };
  const rows: [string, Changes, string][] = [
    ['low risk for 900 s', { context: { duration_seconds: 900 } }, 'permit'],
    ['low risk for 901 s', { context: { duration_seconds: 901 } }, 'deny'],
    ['medium risk', { context: { max_risk: 'medium' } }, 'deny'],
    ['high risk with one approval', { context: { max_risk: 'high', approvals: 1 } }, 'permit'],
    ['a production database', database, 'deny'],
    ['a production database with one approval', { ...database, context: { approvals: 1 } }, 'deny'],
    [
      'a production database with one approval from security',
      { ...database, context: { approvals: 1, approver_groups: ['security'] } },
      'deny',
    ],
    [
      'a production database with two approvals without security',
      { ...database, context: { approvals: 2, approver_groups: ['data'] } },
      'deny',
    ],
    [
      'a production database with two approvals, one from security',
      { ...database, context: { approvals: 2, approver_groups: ['data', 'security'] } },
      'permit',
    ],
    ['a staging database', { ...database, principal: { environment: 'staging' } }, 'permit'],
  ];
  it.each(rows)('%s: %#', (_, changes, expected) => {
    expect(engine.decide(requestOf(changes)).decision).toBe(expected);
  });
});

describe('hostile facts', () => {
  it('that are not well-formed Unicode result in an error, thousands of times, and affect no later decision', () => {
    const engine = engineWith(permitAll);
    const places: Changes[] = [
      { principal: { id: '\ud800' } },
      { principal: { labels: ['\udfff'] } },
      { resource: { identifier: 'x\udc00' } },
      { context: { scopes: ['\ud800x'] } },
      { context: { auth_method: '\udbff' } },
    ];
    for (let i = 0; i < 4000; i += 1) {
      expect(engine.decide(requestOf(places[i % places.length])).decision).toBe('error');
    }
    expect(engine.decide(requestOf()).decision).toBe('permit');
  });

  it('of any text never throw, and are never interpreted as anything but text', () => {
    const engine = engineWith(permitWhen('context.auth_method == principal.name'));
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (one, other) => {
        const request = requestOf({
          principal: { name: one, id: other, labels: [other] },
          context: { auth_method: one, scopes: [one, other] },
        });
        expect(engine.decide(request).decision).toBe('permit');
      }),
      { numRuns: 200 },
    );
  });

  it('that are not numbers result in an error', () => {
    const engine = engineWith(permitAll);
    for (const duration of [Number.NaN, 1.5, Number.POSITIVE_INFINITY]) {
      expect(engine.decide(requestOf({ context: { duration_seconds: duration } })).decision).toBe('error');
    }
    expect(engine.decide(requestOf()).decision).toBe('permit');
  });

  it('an exception from Cedar denies, and the next decision is made in a new instance', () => {
    const engine = engineWith(permitAll);
    let failures = 0;
    // Uses up the stack, then decides on the way back up, so that Cedar overflows during its work.
    const dive = (depth: number): void => {
      try {
        dive(depth + 1);
      } catch {
        // At this depth the stack is exhausted.
      }
      if (failures < 3 && engine.decide(requestOf()).decision === 'error') failures += 1;
    };
    try {
      dive(0);
    } catch {
      // As above.
    }
    expect(failures).toBeGreaterThan(0);
    expect(engine.decide(requestOf())).toEqual({ decision: 'permit', policies: [pol(0)], errors: [] });
  });
});

describe('load', () => {
  const document = (cedar: string, version = 1) => ({ id: 'pol_0', version, cedar });

  it('replaces all previous policies from the next decision on', () => {
    const engine = newEngine();
    expect(engine.load([document(permitAll)], 1)).toBe(true);
    expect(engine.decide(requestOf())).toMatchObject({ decision: 'permit', policies: [pol(0, 1)] });
    engine.load([document(`${permitAll}${permitAll}`, 2)], 2n);
    expect(engine.decide(requestOf())).toMatchObject({ decision: 'permit', policies: [pol(0, 2)] });
    engine.load([], 3);
    expect(engine.decide(requestOf()).decision).toBe('deny');
    expect(engine.epoch).toBe(3n);
  });

  it('never returns to an older epoch', () => {
    const engine = newEngine();
    engine.load([document(permitAll)], 7);
    expect(engine.load([], 6)).toBe(false);
    expect(engine.epoch).toBe(7n);
    expect(engine.decide(requestOf()).decision).toBe('permit');
  });

  it.each([
    ['invalid Cedar', 'permit('],
    ['a template', 'permit(principal == ?principal, action, resource);'],
    ['a statement that is too deep', permitWhen(`${'('.repeat(500)}true${')'.repeat(500)}`)],
  ])('refuses %s and keeps the previous policies', (_, text) => {
    const engine = engineWith(permitAll);
    expect(() => engine.load([document(permitAll), document(text)], 2)).toThrow(
      expect.objectContaining({ code: 'internal', internal: expect.stringContaining('pol_0') }),
    );
    expect(engine.epoch).toBe(1n);
    expect(engine.decide(requestOf()).decision).toBe('permit');
  });

  it('distinguishes statements of documents with the same id', () => {
    const engine = newEngine();
    engine.load([document(permitAll, 1), document(forbidWhen('true'), 2)], 1);
    expect(engine.decide(requestOf())).toMatchObject({ decision: 'deny', policies: [pol(0, 2)] });
  });

  it('does not affect another engine, even one with the same name', () => {
    const random = { bytes: (length: number) => Buffer.alloc(length, 7) };
    const [one, other] = [createPolicyEngine({ random }), createPolicyEngine({ random })];
    one.load([document(permitAll)], 1);
    other.load([], 1);
    expect(one.decide(requestOf()).decision).toBe('permit');
    expect(other.decide(requestOf()).decision).toBe('deny');
    other.load([document(permitAll)], 2);
    one.load([], 2);
    expect(one.decide(requestOf()).decision).toBe('deny');
    expect(other.decide(requestOf()).decision).toBe('permit');
  });

  it('returns every string in the policies in force', () => {
    const engine = engineWith(productionDatabases);
    expect([...engine.literals].sort()).toEqual(['postgres', 'production', 'request', 'security']);
    engine.load([], 2);
    expect(engine.literals.size).toBe(0);
  });
});
