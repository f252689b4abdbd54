import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { VhostPermission } from '../../../src/engines/mapping.ts';
import { rabbitmq } from '../../../src/engines/rabbitmq/engine.ts';
import { hashPassword } from '../../../src/engines/rabbitmq/password-hash.ts';
import { anyOf } from '../../../src/engines/rabbitmq/pattern.ts';
import { permissionsOf } from '../../../src/engines/rabbitmq/permissions.ts';

const permission = (change: Partial<VhostPermission> = {}): VhostPermission => ({
  vhost: '/',
  configure: '',
  write: '',
  read: '',
  ...change,
});
const problemOf = (...permissions: VhostPermission[]) => rabbitmq.mappingProblem({ permissions });
const topic = (change: object = {}) =>
  permission({ topics: [{ exchange: 'e', write: '', read: '', ...change }] });

const vhostRule =
  'the name of a virtual host has 1 to 255 bytes and no control characters, and is not . or ..';
const exchangeRule =
  'the name of an exchange has 1 to 255 bytes and no control characters, and is not . or ..';
const formRule = expect.stringMatching(/^a pattern has only groups of the forms/);

describe('a mapping of RabbitMQ', () => {
  it.each([
    [{ roles: ['a'] }, 'a scope of a rabbitmq resource maps to permissions'],
    [{ permissions: [] }, 'permissions needs 1 to 20 entries'],
  ])('is refused if it is %j', (mapping, problem) => {
    expect(rabbitmq.mappingProblem(mapping)).toBe(problem);
    expect(() => permissionsOf([mapping])).toThrow(problem);
  });

  it('is refused with more than 20 virtual hosts, or with the same one twice', () => {
    const many = Array.from({ length: 21 }, (_, i) => permission({ vhost: `v${i}` }));
    expect(problemOf(...many)).toBe('permissions needs 1 to 20 entries');
    expect(problemOf(permission(), permission())).toBe('permissions has two entries for a virtual host');
  });

  it.each([
    '',
    '.',
    '..',
    'a\0b',
    'a\nb',
    'é'.repeat(128),
    '\ud800',
  ])('is refused with the name %j of a virtual host or an exchange', (name) => {
    expect(problemOf(permission({ vhost: name }))).toBe(vhostRule);
    expect(problemOf(topic({ exchange: name }))).toBe(exchangeRule);
  });

  it('is refused with too many topics, the same exchange twice, or a part of the pattern that the agent chooses', () => {
    const topics = Array.from({ length: 21 }, (_, i) => ({ exchange: `e${i}`, write: '', read: '' }));
    expect(problemOf(permission({ topics }))).toBe('topics has at most 20 entries');
    const twice = [0, 1].map(() => ({ exchange: 'e', write: '', read: '' }));
    expect(problemOf(permission({ topics: twice }))).toBe('topics has two entries for an exchange');
    for (const change of [{ write: '^{client_id}$' }, { read: 'x.{client_id}' }]) {
      expect(problemOf(topic(change))).toMatch(/must not have \{client_id\}/);
    }
    expect(problemOf(topic({ write: '^{username}[.]' }))).toBeUndefined();
  });

  it.each([
    ['(', formRule],
    [')', 'a pattern is not a regular expression'],
    ['a**', 'a pattern is not a regular expression'],
    ['a++', 'a pattern is not a regular expression'],
    ['[b-a]', 'a pattern is not a regular expression'],
    ['[a', formRule],
    ['a]', formRule],
    ['[]a]', formRule],
    ['[[:alpha:]]', formRule],
    ['(?i)a', formRule],
    ['(?#a)', formRule],
    ['(?<n>a)', formRule],
    ['(?>a)', formRule],
    ['(?R)', formRule],
    ['(*ACCEPT)a', formRule],
    [String.raw`(a)\1`, formRule],
    [String.raw`\Qa`, formRule],
    [String.raw`\x41`, formRule],
    ['a\\', formRule],
    ['é', 'a pattern has only printable ASCII characters'],
    ['a\nb', 'a pattern has only printable ASCII characters'],
    ['a'.repeat(501), 'a pattern has at most 500 characters'],
  ])('is refused with the pattern %j in any place', (pattern, problem) => {
    for (const place of ['configure', 'write', 'read'])
      expect(problemOf(permission({ [place]: pattern }))).toEqual(
        problem === formRule && pattern === '(' ? expect.any(String) : problem,
      );
    for (const place of ['write', 'read'])
      expect(problemOf(topic({ [place]: pattern }))).toEqual(expect.any(String));
  });

  it.each([
    '',
    '.*',
    '^(?:orders|amq[.]default)$',
    String.raw`^a\.b\d{1,3}[\w\-\]]+$`,
    '^(?!secret)',
    '^(a(b|c)?)+$',
    '{username}',
  ])('may have the pattern %j', (pattern) => {
    expect(problemOf(permission({ configure: pattern, write: pattern, read: pattern }))).toBeUndefined();
  });
});

describe('several mappings of RabbitMQ', () => {
  it('permit what one of them permits, in each virtual host', () => {
    const all = permissionsOf([
      { permissions: [permission({ read: 'a', write: '^x' }), permission({ vhost: 'b', read: 'c' })] },
      { permissions: [permission({ read: 'b|c', configure: '^own-', write: '^x' })] },
    ]);
    expect(all).toEqual([
      { vhost: '/', configure: '^own-', write: '^x', read: '(?:a)|(?:b|c)', topics: [] },
      { vhost: 'b', configure: '', write: '', read: 'c', topics: [] },
    ]);
  });

  it('keep a restriction of topics that only one of them has', () => {
    const e = (write: string) => ({ exchange: 'e', write, read: '' });
    const all = permissionsOf([
      { permissions: [permission({ write: '.*' })] },
      { permissions: [permission({ topics: [e('^a[.]')] })] },
      { permissions: [permission({ topics: [e('^b[.]'), { exchange: 'f', write: '', read: '' }] })] },
    ]);
    expect(all[0]?.topics).toEqual([
      { exchange: 'e', write: '(?:^a[.])|(?:^b[.])', read: '' },
      { exchange: 'f', write: '', read: '' },
    ]);
  });

  it('never permit less or more than all of them: a name matches together exactly if it matches one', () => {
    const pattern = fc.constantFrom('^a', 'b$', '^a|b$', '(a|b)c', '^(?!a)', '[a-b]{2}', '^$', '');
    const name = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 6 });
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 5 }), name, (patterns, text) => {
        const together = anyOf(patterns);
        const used = patterns.filter((each) => each !== '');
        expect(together !== '' && new RegExp(together).test(text)).toBe(
          used.some((each) => new RegExp(each).test(text)),
        );
      }),
      { seed: 1 },
    );
  });
});

describe('the stored form of a password', () => {
  it('is that of the RabbitMQ manual (Credentials and Passwords, Computing Password Hash)', () => {
    expect(hashPassword('test12', Buffer.from('908DC60A', 'hex'))).toEqual({
      password_hash: 'kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR',
      hashing_algorithm: 'rabbit_password_hashing_sha256',
    });
  });
});
