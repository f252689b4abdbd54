import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { redis } from '../../../src/engines/redis/engine.ts';
import { ruleSetsOf, toArguments } from '../../../src/engines/redis/rules.ts';

const { mappingProblem } = redis;
const argumentsOf = (...all: string[]): string[] => toArguments(ruleSetsOf(all.map((rules) => ({ rules }))));

describe('the rules of a Redis mapping', () => {
  it.each([
    '~orders:* +get +set',
    '~* &* +get',
    '%R~a %W~b %RW~c +copy',
    '+client|id +acl|whoami -get',
    '~k:[a-z]?\\* +@read -@dangerous -keys',
    '~schlüssel:* +GET +json.get +restore-asking',
    '  ~a   +get\u00a0+set ',
    '(~a +get) (~b +set)',
    '~a +get ( ~b +set )',
    '+select|0',
  ])('may be %j', (rules) => expect(mappingProblem({ rules })).toBeUndefined());

  const form = /is not allowed: a rule is a key pattern/;
  it.each([
    ...['on', 'off', 'nopass', '>pw +get', '<pw', `#${'a'.repeat(64)}`, `!${'a'.repeat(64)}`, 'reset'],
    ...['resetpass', 'resetkeys', 'resetchannels', 'clearselectors', 'sanitize-payload'],
    ...['skip-sanitize-payload', 'allcommands', 'nocommands', 'allkeys', 'allchannels', 'get'],
    ...['~', '&', '+', '-', '+@', '%~a', '%X~a', '%RR~a', '+client|kill|x', '+|x', '+get|', '~"a"', "~it's"],
    ...['+get;', '+ge*', '++get', '+@read|x', '@read', '~a\u00adb\u0085 $x'],
  ])('may not have the form %j', (rules) => {
    expect(mappingProblem({ rules: `${rules} +get` })).toMatch(form);
  });

  it.each([
    ...['acl', 'acl|setuser', 'acl|getuser', 'ACL|SetUser', 'acl|list', 'config', 'config|get', 'debug'],
    ...['debug|sleep', 'module', 'module|load', 'replicaof', 'slaveof', 'shutdown', 'client|kill'],
    ...['CLIENT|pause', 'client|unpause', 'client|no-evict', 'failover', 'migrate', 'save', 'bgsave'],
    ...['bgrewriteaof', 'monitor', 'psync', 'sync', 'replconf', 'eval', 'EVALSHA', 'eval_ro', 'evalsha_ro'],
    ...['fcall', 'fcall_ro', 'function', 'function|load', 'script', 'script|load', 'slowlog|get', 'latency'],
    ...['@all', '@admin', '@ALL', '@dangerous', '@scripting'],
  ])('may not give +%s, but may take it', (name) => {
    expect(mappingProblem({ rules: `~a +get +${name}` })).toMatch(/^the rule "\+.*" is not allowed: \w/);
    expect(mappingProblem({ rules: `~a ( ~b +${name} )` })).toMatch(/^the rule /);
    expect(mappingProblem({ rules: `~a +get -${name}` })).toBeUndefined();
  });

  it.each([
    ['(~a +get', 'a parenthesis of the rules has no end'],
    ['~a +get )', 'a parenthesis of the rules has no beginning'],
    ['( ~a (~b) +get )', 'a selector of the rules is within another one'],
    ['+get ()', 'a selector of the rules is empty'],
    ['~a( +get )', 'a pattern has no parentheses, and selectors have spaces between them'],
    ['~a(b) +get', 'a pattern has no parentheses, and selectors have spaces between them'],
    ['(~a +get)(~b +set)', 'a pattern has no parentheses, and selectors have spaces between them'],
    ['~a +get )>pw(', 'a pattern has no parentheses, and selectors have spaces between them'],
    ['', 'rules permits no command'],
    ['~a &b -get', 'rules permits no command'],
    ['~a\n+get', 'rules has no control characters'],
    ['~a\0 +get', 'rules has no control characters'],
    ['~a\u007f +get', 'rules has no control characters'],
    ['~\ud800 +get', 'rules has no control characters'],
    ['~a '.repeat(201), 'rules has at most 200 rules'],
    [`~${'a'.repeat(4096)} +get`, 'rules has at most 4096 characters'],
  ])('are refused if they are wrong: %j', (rules, problem) => {
    expect(mappingProblem({ rules })).toBe(problem);
  });

  it('of another kind are refused', () => {
    expect(mappingProblem({ roles: ['a'] })).toBe('a scope of a redis resource maps to rules');
    expect(() => ruleSetsOf([{ roles: ['a'] }])).toThrow(/a scope of a redis resource maps to rules/);
    expect(() => ruleSetsOf([])).toThrow(/at least one mapping/);
  });

  it('become one list, or selectors if there are several groups', () => {
    expect(argumentsOf('~a  +get')).toEqual(['~a', '+get']);
    expect(argumentsOf('(~a +get)')).toEqual(['~a', '+get']);
    const two = ['(resetchannels ~a +get)', '(resetchannels ~b +set)'];
    expect(argumentsOf('~a +get', '~b +set')).toEqual(two);
    expect(argumentsOf('~a +get (~b +set)')).toEqual(two);
  });

  it('never lead to an argument that does something else, for any text', () => {
    const part = fc.constantFrom(
      ...[
        '~a',
        '%R~b',
        '&c',
        '+get',
        '-@read',
        '+@read',
        '+client|id',
        '(',
        ')',
        ' ',
        ' ',
        ' ',
        '~',
        '@',
        '|',
      ],
      ...['"', '>', '#', 'on', 'nopass', '\\'],
    );
    const text = fc.array(part, { minLength: 1, maxLength: 9 }).map((parts) => parts.join(''));
    const one = /^(?:(?:%(?:R|W|RW))?~[^\s"'()]+|&[^\s"'()]+|[+-]@?[\w.|-]+)$/;
    let accepted = 0;
    fc.assert(
      fc.property(text, (rules) => {
        if (mappingProblem({ rules }) !== undefined) return;
        accepted += 1;
        for (const argument of argumentsOf(rules, '~z +ping')) {
          const inner = /^\(resetchannels (.*)\)$/.exec(argument)?.[1]?.split(' ') ?? [argument];
          for (const rule of inner) expect(rule).toMatch(one);
        }
      }),
      { seed: 1, numRuns: 10_000 },
    );
    expect(accepted).toBeGreaterThan(100);
  });
});
