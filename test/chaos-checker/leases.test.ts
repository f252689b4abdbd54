import { describe, expect, it } from 'vitest';
import { leasesRevoked, loginsAfterAccess } from './chances.ts';
import { factsOf } from './facts.ts';
import { finalState, fine, found, history, performed } from './hand-made.ts';
import type { FinalState, LeaseSeen, Operation, Outcome } from './history.ts';

const lease = (accessDisabledAtMs: number | null): LeaseSeen => ({
  id: 'lease',
  agentId: 'agent',
  accessDisabledAtMs,
});
const about = { agentId: 'agent', leaseId: 'lease' };
const loggedIn = (times: [number, number], outcome: Outcome = 'ok') =>
  performed('log-in', times, { ...about, outcome });
const read = (times: [number, number], accessDisabledAtMs: number | null) =>
  performed('read-lease', times, { ...about, lease: lease(accessDisabledAtMs) });
const row = (changes: object = {}) => ({ ...lease(null), accountName: 'hp_1', endsAtMs: 100, ...changes });
const judged = (operations: Operation[], final: Partial<FinalState> = {}): string[] =>
  found({ ...history(...operations), finalState: finalState(final) });

const used = ['lease-use: lease lease was used after its access had ended'];

describe('a login', () => {
  it.each<[string, Operation[], Partial<FinalState>, string[]]>([
    [
      'before the end of access is fine',
      [loggedIn([10, 20])],
      { leaseRows: [row({ accessDisabledAtMs: 15 })] },
      fine,
    ],
    [
      'after the end of access is found',
      [loggedIn([16, 20])],
      { leaseRows: [row({ accessDisabledAtMs: 15 })] },
      used,
    ],
    [
      'that is refused is fine',
      [loggedIn([16, 20], 'refused')],
      { leaseRows: [row({ accessDisabledAtMs: 15 })] },
      fine,
    ],
    [
      'without an answer is fine',
      [loggedIn([16, 20], 'unknown')],
      { leaseRows: [row({ accessDisabledAtMs: 15 })] },
      fine,
    ],
    ['after a response that showed the end is found', [read([1, 9], 5), loggedIn([10, 20])], {}, used],
    ['during that response is fine', [read([1, 11], 5), loggedIn([10, 20])], {}, fine],
    [
      'after a response that showed the lease with access is fine',
      [read([1, 9], null), loggedIn([10, 20])],
      {},
      fine,
    ],
  ])('%s', (_what, operations, final, expected) => {
    expect(judged(operations, final)).toEqual(expected);
  });
});

describe('an account after the final sweep', () => {
  it.each<[string, Partial<FinalState>, string[]]>([
    ['is fine while its lease lasts', { leaseRows: [row()], accounts: [{ name: 'hp_1', atMs: 50 }] }, fine],
    ['is fine soon after', { leaseRows: [row()], accounts: [{ name: 'hp_1', atMs: 15_100 }] }, fine],
    [
      'is found if its lease ended long ago',
      { leaseRows: [row()], accounts: [{ name: 'hp_1', atMs: 15_101 }] },
      ['lease-accounts: the account of lease lease exists 15001 ms after its end'],
    ],
    [
      'is found without a lease',
      { leaseRows: [row()], accounts: [{ name: 'hp_2', atMs: 50 }] },
      ['lease-accounts: the account hp_2 has no lease'],
    ],
  ])('%s', (_what, final, expected) => {
    expect(judged([], final)).toEqual(expected);
  });
});

describe('an opportunity to find a fault in the end of leases', () => {
  const count = (counter: typeof leasesRevoked, ...operations: Operation[]) =>
    counter({ ...factsOf(history(...operations)), storedAsEnded: new Set() }, 'agent');

  it('is a login after a response that showed the end, with any answer', () => {
    expect(count(loginsAfterAccess, read([1, 9], 5), loggedIn([10, 20]))).toBe(1);
    expect(count(loginsAfterAccess, read([1, 9], 5), loggedIn([10, 20], 'refused'))).toBe(1);
    expect(count(loginsAfterAccess, read([1, 9], 5), loggedIn([10, 20], 'unknown'))).toBe(0);
    expect(count(loginsAfterAccess, read([1, 9], null), loggedIn([10, 20]))).toBe(0);
    expect(count(loginsAfterAccess, read([1, 11], 5), loggedIn([10, 20]))).toBe(0);
  });

  it('is a lease that was revoked long before the last operation', () => {
    const later = loggedIn([15_003, 15_004], 'refused');
    const revoked = (outcome: Outcome) => performed('revoke-lease', [1, 2], { ...about, outcome });
    expect(count(leasesRevoked, revoked('ok'), revoked('ok'), later)).toBe(1);
    expect(count(leasesRevoked, revoked('ok'))).toBe(0);
    expect(count(leasesRevoked, revoked('refused'), later)).toBe(0);
    expect(count(leasesRevoked, revoked('unknown'), later)).toBe(0);
  });
});
