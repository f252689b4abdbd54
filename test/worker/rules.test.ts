import { describe, expect, it } from 'vitest';
import { BrokerError } from '../../src/errors.ts';
import { describeFailure } from '../../src/worker/failure.ts';
import { isLeaseFree } from '../../src/worker/job.ts';

const now = new Date('2026-03-02T10:00:00Z');
const at = (seconds: number) => new Date(now.getTime() + seconds * 1000);

describe('a lease', () => {
  it.each([
    ['it is not held', null, true],
    ['it has expired', at(-1), true],
    ['it expires now', at(0), true],
    ['it has a second left', at(1), false],
    ['it was just taken with a clock ahead of ours', at(59), false],
    ['it expires later than any correct clock could have set', at(61), true],
  ])('when %s (%s) is free: %s', (_what, expiresAt, free) => {
    expect(isLeaseFree(expiresAt, { now, leaseSeconds: 30 })).toBe(free);
  });
});

describe('the description of a failure', () => {
  const database = (code: string, message: string) => Object.assign(new Error(message), { code });

  it('contains the reason', () => {
    expect(describeFailure(new TypeError('no such thing'))).toBe('TypeError: no such thing');
    expect(describeFailure(new BrokerError('conflict', { detail: 'there', internal: 'secret' }))).toBe(
      'BrokerError: conflict: there',
    );
    expect(describeFailure(database('40001', 'could not serialize access'))).toBe(
      'SQLSTATE 40001: could not serialize access',
    );
  });

  it.each([
    ['a generated secret', 'bad key hpa_0123456789', 'hpa_'],
    ['a password in a URL', 'cannot reach postgres://app:hunter2@db/hallpass', 'hunter2'],
    ['a token', `refused eyJhbGciOiJFUzI1NiJ9.${'e'.repeat(40)}.${'s'.repeat(40)}`, 'eyJ'],
    ['key material', `the key ${'Qq7_-'.repeat(9)} is wrong`, 'Qq7'],
  ])('does not contain %s', (_what, message, secret) => {
    expect(describeFailure(new Error(message))).not.toContain(secret);
    expect(describeFailure(new Error(message))).toContain('[redacted]');
  });

  it('does not contain the value that the database could not read', () => {
    expect(describeFailure(database('22P02', 'invalid input syntax for type json: "hunter2"'))).toBe(
      'SQLSTATE 22P02',
    );
  });

  it('is one line of at most 500 characters that can be stored in the database', () => {
    const text = describeFailure(new Error(`a\u0000b\nc\ud800 ${'word '.repeat(200)}`));
    expect(text).toMatch(/^Error: a b c\ufffd word /);
    expect(text).toHaveLength(500);
    expect(describeFailure('a string with a secret')).toBe('something that is not an error was thrown');
  });
});
