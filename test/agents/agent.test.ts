import { describe, expect, it } from 'vitest';
import { agentStatus, comesBack, isUsable } from '../../src/agents/agent.ts';

const now = new Date('2026-03-02T10:00:00.000Z');
const before = new Date('2026-03-02T09:59:59.999Z');
const after = new Date('2026-03-02T10:00:00.001Z');

describe('an agent', () => {
  it.each([
    ['enabled without an expiry', null, null, 'enabled'],
    ['enabled before its expiry', null, after, 'enabled'],
    ['expired at the very instant of its expiry', null, now, 'expired'],
    ['disabled, also after its expiry', before, after, 'disabled'],
    ['disabled rather than expired', before, before, 'disabled'],
  ])('is %s', (_what, disabledAt, expiresAt, status) => {
    expect(agentStatus({ disabledAt, expiresAt }, now)).toBe(status);
  });

  it('is usable only while it is enabled', () => {
    expect(isUsable({ disabledAt: null, expiresAt: after }, now)).toBe(true);
    expect(isUsable({ disabledAt: null, expiresAt: now }, now)).toBe(false);
    expect(isUsable({ disabledAt: before, expiresAt: null }, now)).toBe(false);
  });

  it.each([
    ['comes back with a later expiry after it expired', before, after, true],
    ['comes back without an expiry after it expired', before, null, true],
    ['stays expired if its expiry is not changed', before, undefined, false],
    ['does not come back if it had not expired', after, null, false],
    ['does not come back if it never expired', null, after, false],
  ])('%s', (_rule, expiresAt, next, back) => {
    expect(comesBack({ disabledAt: null, expiresAt }, next, now)).toBe(back);
  });
});
