import { describe, expect, it } from 'vitest';
import { endsLater, isValid } from '../../src/client-secrets/client-secret.ts';

const now = new Date('2026-03-02T10:00:00.000Z');
const before = new Date('2026-03-02T09:59:59.999Z');
const after = new Date('2026-03-02T10:00:00.001Z');

describe('a client secret', () => {
  it.each([
    ['is valid if it never expires', null, null, true],
    ['is valid before its expiry', after, null, true],
    ['is not valid at the instant of its expiry', now, null, false],
    ['is not valid after its expiry', before, null, false],
    ['is not valid once revoked, even if it never expires', null, before, false],
    ['is not valid once revoked, before its expiry', after, before, false],
  ])('%s', (_rule, expiresAt, revokedAt, valid) => {
    expect(isValid({ expiresAt, revokedAt }, now)).toBe(valid);
  });

  it('cannot have an invalid date as its expiry', () => {
    expect(endsLater(new Date('2026-12-31T23:59:60Z'), now)).toBe(false);
  });
});
