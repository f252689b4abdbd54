import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { conditionsProblem, meetsConditions } from '../../src/trusted-issuers/conditions.ts';

const claims = {
  repository: 'octo/repo',
  repository_id: 42,
  fork: false,
  groups: ['a', 'b'],
  nothing: null,
  'https://example.com/role': 'x',
  'kubernetes.io': { namespace: 'prod', serviceaccount: { name: 'agent', 'a/b~c': 'odd' } },
};

describe('a condition', () => {
  it.each<[string, unknown]>([
    ['repository', 'octo/repo'],
    ['repository', ['other/repo', 'octo/repo']],
    ['repository_id', 42],
    ['fork', false],
    ['https://example.com/role', 'x'],
    ['/kubernetes.io/namespace', 'prod'],
    ['/kubernetes.io/serviceaccount/name', 'agent'],
    ['/kubernetes.io/serviceaccount/a~1b~0c', 'odd'],
  ])('is met: %s %j', (name, value) => {
    expect(meetsConditions(claims, { [name]: value as string })).toBe(true);
  });

  it.each<[string, unknown]>([
    ['repository', 'octo'],
    ['repository', 'octo/repo2'],
    ['repository', 'Octo/repo'],
    ['repository', 'octo/*'],
    ['repository', '.*'],
    ['repository', ''],
    ['repository', []],
    ['repository_id', '42'],
    ['repository_id', 42.5],
    ['fork', 'false'],
    ['fork', 0],
    ['groups', 'a'],
    ['groups', ['a', 'b']],
    ['nothing', 'null'],
    ['absent', 'undefined'],
    ['toString', 'x'],
    ['__proto__', 'x'],
    ['/kubernetes.io', 'prod'],
    ['/kubernetes.io/namespace/length', 4],
    ['/groups/0', 'a'],
    ['/', 'octo/repo'],
    ['kubernetes.io.namespace', 'prod'],
  ])('is not met: %s %j', (name, value) => {
    const conditions = Object.fromEntries([[name, value as string]]);
    expect(meetsConditions(claims, conditions)).toBe(false);
  });

  it.each<[string, unknown, string | undefined]>([
    ['ref_protected', true, 'write "true"'],
    ['/ref_protected', [false], 'write "false"'],
    ['repository_id', 42, 'write "42"'],
    ['ref_protected', 'true', undefined],
    ['ref_protected', [true, 'true'], undefined],
    ['email_verified', true, undefined],
    ['repository', 'octo/*', 'no patterns'],
    ['repository', ['octo/repo', '*'], 'no patterns'],
  ])('is refused at registration where a platform would never meet it: %s %j', (name, value, problem) => {
    const conditions = Object.fromEntries([[name, value as string]]);
    if (problem === undefined) expect(conditionsProblem(conditions)).toBeUndefined();
    else expect(conditionsProblem(conditions)).toContain(problem);
  });

  it('cannot have a number that JSON rounds', () => {
    const wide = { id: JSON.parse('9007199254740993') };
    expect(meetsConditions(wide, wide)).toBe(false);
    expect(conditionsProblem(wide)).toContain('exactly');
    expect(conditionsProblem({ id: [1, 2 ** 53] })).toContain('exactly');
    expect(conditionsProblem({ id: [2 ** 53 - 1, 0.5, true] })).toBeUndefined();
  });

  it('must be met together with all others; an empty set of conditions is always met', () => {
    expect(meetsConditions(claims, { repository: 'octo/repo', fork: true })).toBe(false);
    expect(meetsConditions(claims, { repository: 'octo/repo', fork: false })).toBe(true);
    expect(meetsConditions(claims, {})).toBe(true);
  });

  it('is met only by its exact value (property)', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (wanted, given) => {
        expect(meetsConditions({ name: given }, { name: wanted })).toBe(given === wanted);
      }),
    );
  });

  it('cannot be about a claim that has its own rule, and must be a valid JSON Pointer if it begins with a slash', () => {
    for (const name of ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', '/aud']) {
      expect(conditionsProblem({ [name]: 'x' })).toContain(name);
    }
    expect(conditionsProblem({ '/a~2b': 'x' })).toContain('JSON Pointer');
    expect(conditionsProblem({ '/a~0b/aud': 'x', repository: 'x' })).toBeUndefined();
  });
});
