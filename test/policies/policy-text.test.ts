import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { maxDepth, scanPolicy } from '../../src/policies/policy-scan.ts';
import { maxPolicyBytes, validatePolicyText } from '../../src/policies/policy-text.ts';
import {
  engineWith,
  lowRiskAtOnce,
  onePersonAgrees,
  overflows,
  permitAll,
  permitWhen,
  productionDatabases,
  requestOf,
} from './fixtures.ts';

const errorsOf = (text: string) => {
  const result = validatePolicyText(text);
  return result.ok ? [] : result.errors;
};

describe('validatePolicyText accepts', () => {
  it.each([
    ['the low-risk example', lowRiskAtOnce],
    ['the one-approval example', onePersonAgrees],
    ['the production example', productionDatabases],
    ['an owner', permitWhen('principal in Owner::"adm_1"')],
    ['an address range', permitWhen('context.source_ip.isInRange(ip("10.0.0.0/8"))')],
    ['a fact that is checked to be known', permitWhen('context has source_ip && context.source_ip.isIpv4()')],
    ['labels', permitWhen('principal.labels.containsAny(resource.labels)')],
    ['time', permitWhen('context.hour >= 8 && context.weekday <= 5')],
    ['the other facts', permitWhen('context.has_ticket && !context.delegated && context.auth_method == "x"')],
    ['twenty conditions', permitWhen(Array(20).fill('context.scopes.contains("a")').join(' && '))],
  ])('%s', (_, text) => {
    expect(validatePolicyText(text)).toEqual({ ok: true, statements: 1 });
  });

  it('several statements in one text, and counts them', () => {
    const text = [lowRiskAtOnce, onePersonAgrees, productionDatabases].join('\n');
    expect(validatePolicyText(text)).toEqual({ ok: true, statements: 3 });
  });
});

describe('validatePolicyText refuses', () => {
  it('a syntax error, with line and column after multi-byte characters', () => {
    const text = `// é € 😀\r\n${permitAll}\n/* no */ permit(principal, action, resource);`;
    expect(errorsOf(text)[0]).toMatchObject({ line: 3, column: 1 });
    const inLine = `${permitAll}\n@note("é😀") permit(principal, action, resource) wen { true };`;
    expect(errorsOf(inLine)[0]).toMatchObject({
      line: 2,
      column: 50,
      message: expect.stringContaining('wen'),
    });
  });

  it.each([
    ['an unknown fact', 'context.reason == "x"', 'reason'],
    ['an unknown attribute of the agent', 'principal.email == "x"', 'email'],
    ['a comparison of different types', 'context.max_risk == 1', 'compatible'],
    ['an invalid address range', 'context.source_ip.isInRange(ip("10.0.0.0/99"))', '10.0.0.0/99'],
    ['an unknown entity type', 'principal in User::"x"', 'User'],
  ])('%s, naming its line', (_, condition, word) => {
    const [first] = errorsOf(`${permitAll}\n\n${permitWhen(`\n${condition}`)}`);
    expect(first).toMatchObject({ line: 4, message: expect.stringContaining(word) });
    expect(first?.message).not.toMatch(/policy\d/);
  });

  it('an unknown action', () => {
    expect(errorsOf('permit(principal, action == Action::"admin", resource);')[0]).toMatchObject({ line: 1 });
  });

  it('all faulty statements, with one response', () => {
    const lines = errorsOf(`${permitWhen('context.a == 1')}\n${permitWhen('context.b == 1')}`).map(
      (e) => e.line,
    );
    expect(lines.sort()).toEqual([1, 2]);
  });

  it('a template, with the line of its slot', () => {
    const errors = errorsOf(
      `${permitAll}\n// ?principal\npermit(principal == ?principal, action, resource);`,
    );
    expect(errors).toEqual([{ message: 'Templates are not supported', line: 3, column: 21 }]);
  });

  it.each(['', '  \n', '// nothing but a comment'])('a text without a statement: %j', (text) => {
    expect(errorsOf(text)).toEqual([{ message: 'The text contains no policy statement', line: 1 }]);
  });

  it('more than 64 kB, counted in bytes', () => {
    const filler = (bytes: number) => `${permitAll}//${'é'.repeat((bytes - permitAll.length - 2) / 2)}`;
    expect(validatePolicyText(filler(maxPolicyBytes)).ok).toBe(true);
    expect(errorsOf(filler(maxPolicyBytes + 2))[0]?.message).toContain('65536');
  });

  it.each([
    ['a lone surrogate', '\ud800'],
    ['a NUL', '\0'],
    ['a bidirectional control', '\u202e'],
  ])('%s, naming its line', (_, bad) => {
    expect(errorsOf(`${permitAll}\n// ${bad}`)[0]).toMatchObject({ line: 2, column: 4 });
  });
});

/** Texts that make Cedar recurse. Each function makes a text that is `n` deep or long. */
const deepShapes: Record<string, (n: number) => string> = {
  parentheses: (n) => permitWhen(`${'('.repeat(n)}true${')'.repeat(n)}`),
  'unclosed parentheses': (n) => permitWhen('('.repeat(n)),
  negations: (n) => permitWhen(`${'!'.repeat(n)}true`),
  sets: (n) => permitWhen(`${'['.repeat(n)}1${']'.repeat(n)}.isEmpty()`),
  records: (n) => permitWhen(`${'{a:'.repeat(n)}1${'}'.repeat(n)} == {}`),
  'a long or': (n) => permitWhen(`false${' || context.has_ticket'.repeat(n)}`),
  'a long and': (n) => permitWhen(`true${' && context.has_ticket'.repeat(n)}`),
  'a long sum': (n) => permitWhen(`1${'+1'.repeat(n)} > 0`),
  'else if': (n) => permitWhen(`${'if context.has_ticket then true else '.repeat(n)}true`),
  'else if between conjunctions': (n) => permitWhen(`${'true && if true then true else '.repeat(n)}true`),
  'if in if': (n) => permitWhen(`${'if '.repeat(n)}true${' then true else true'.repeat(n)}`),
  attributes: (n) => permitWhen(`context${'.a'.repeat(n)}`),
  indexes: (n) => permitWhen(`context${'["a"]'.repeat(n)}`),
  calls: (n) => permitWhen(`[1]${'.contains(1)'.repeat(n)}`),
  'calls in calls': (n) => permitWhen(`${'[1].contains('.repeat(n)}1${')'.repeat(n)}`),
  conditions: (n) => `permit(principal, action, resource)${'when{context.has_ticket}'.repeat(n)};`,
  mixture: (n) => permitWhen(`${'[{a:(context.has_ticket || '.repeat(n)}true${')}]'.repeat(n)}.isEmpty()`),
  'code after a comment ended by a carriage return': (n) =>
    permitWhen(`// \r${'('.repeat(n)}true${')'.repeat(n)}`),
  'code after a string that is none': (n) => permitWhen(`"\\\n${'('.repeat(n)}true${')'.repeat(n)}"`),
};

describe('a text that would overflow the stack of Cedar', () => {
  it.each(Object.entries(deepShapes))('is refused, naming the line of the statement: %s', (_, shape) => {
    for (const n of [maxDepth + 1, 1000]) {
      expect(errorsOf(`${permitAll}\n${shape(n)}`)[0]).toMatchObject({
        line: 2,
        message: expect.stringMatching(`more than ${maxDepth}`),
      });
    }
  });

  it.each(
    Object.entries(deepShapes),
  )('is not refused if it is slightly less deep, and then is evaluated or has another error: %s', (_, shape) => {
    for (const n of [maxDepth, maxDepth - 5, maxDepth / 2, maxDepth / 4, maxDepth / 6].map(Math.floor)) {
      const text = shape(n);
      const result = validatePolicyText(text);
      if (!result.ok) expect(result.errors[0]?.message).not.toContain('too complex');
      else expect(engineWith(text).decide(requestOf()).errors).toEqual([]);
    }
  });

  it('cannot be hidden in brackets of any kind', () => {
    const token = fc.constantFrom(
      '(',
      ')',
      '[',
      ']',
      '{',
      '}',
      '&&',
      '||',
      '!',
      '.',
      'if',
      ',',
      '"',
      '//',
      '\n',
      'a',
      '+',
    );
    fc.assert(
      fc.property(fc.array(token, { maxLength: 2000 }), (tokens) => {
        expect(errorsOf(permitWhen(tokens.join(' ')))[0]?.message ?? '').not.toContain('too complex');
      }),
      { numRuns: 60 },
    );
  });
});

describe('scanPolicy', () => {
  it('finds the strings that a policy compares with, unescaped, but not those in comments', () => {
    const text = permitWhen('["a", "b\\"c", "\\u{e9}\\x41\\n"].contains(context.max_risk) // "d"\n');
    expect([...scanPolicy(text).literals].sort()).toEqual(['a', 'b"c', 'request', 'éA\n']);
  });

  it('measures each statement separately', () => {
    expect(scanPolicy(permitWhen('context.has_ticket || true').repeat(200)).tooDeepAt).toBeUndefined();
  });

  it('finds no template slot within a string', () => {
    expect(scanPolicy(permitWhen('context.max_risk == "?principal"')).slotAt).toBeUndefined();
  });
});

it('an error at run time is not an error of the text', () => {
  expect(validatePolicyText(permitWhen(overflows)).ok).toBe(true);
});
