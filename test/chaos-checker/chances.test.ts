import { describe, expect, it } from 'vitest';
import * as chances from './chances.ts';
import { factsOf } from './facts.ts';
import { grant, history, minted, performed, saw, token } from './hand-made.ts';
import type { Operation } from './history.ts';

const count = (
  counter: chances.CountChances,
  operations: Operation[],
  agentId: string,
  ended: string[] = [],
) => counter({ ...factsOf(history(...operations)), storedAsEnded: new Set(ended) }, agentId);

const introspected = (jti: string, times: [number, number]): Operation =>
  performed('introspect', times, { jti, active: false });
const requested = performed('request', [0, 5], { agentId: 'agent', key: 'key', grants: [grant()] });

describe('an opportunity to find the use of a revoked token', () => {
  const revoked = (outcome: Operation['outcome'] = 'ok') =>
    performed('revoke-token', [30, 40], { jti: 'token', outcome });

  it.each<[string, Operation[], number]>([
    ['is an introspection afterwards', [revoked(), introspected('token', [41, 50])], 1],
    ['is not a revocation without an introspection', [revoked()], 0],
    ['is not an introspection during the revocation', [revoked(), introspected('token', [39, 50])], 0],
    [
      'is not an introspection after a revocation of unknown outcome',
      [revoked('unknown'), introspected('token', [41, 50])],
      0,
    ],
    ['is not an introspection after the expiry', [revoked(), introspected('token', [8_995, 9_001])], 0],
    [
      'is not an introspection after its grant had ended, too',
      [
        revoked(),
        performed('return', [32, 38], { grantId: 'grant', grants: [grant({ status: 'returned' })] }),
        introspected('token', [41, 50]),
      ],
      0,
    ],
    [
      'is not an introspection after its agent may have been disabled',
      [
        revoked(),
        performed('disable', [32, 38], { agentId: 'agent', outcome: 'unknown' }),
        introspected('token', [41, 50]),
      ],
      0,
    ],
  ])('%s', (_what, operations, expected) => {
    expect(count(chances.usesAfterRevocation, [requested, minted(), ...operations], 'agent')).toBe(expected);
  });
});

describe('an opportunity to find the use of an exchanged token', () => {
  const exchanged = performed('exchange', [21, 25], {
    agentId: 'helper',
    by: { credential: 'other' },
    subjectJti: 'token',
    token: token({ jti: 'derived', agentId: 'helper', grantId: 'child' }),
  });
  const subject = performed('mint', [10, 20], {
    agentId: 'agent',
    by: { credential: 'sec_1' },
    token: token(),
  });
  const withdrawn = performed('withdraw', [30, 40], { agentId: 'agent', credential: 'sec_1' });
  const revoked = performed('revoke-token', [30, 40], { jti: 'token' });
  const returned = performed('return', [30, 40], {
    grantId: 'grant',
    grants: [grant({ status: 'returned' })],
  });
  const disabled = performed('disable', [30, 40], { agentId: 'agent' });
  const used = introspected('derived', [41, 50]);

  it.each<[string, chances.CountChances, Operation[], number]>([
    [
      'is an introspection after the ancestor’s agent was disabled',
      chances.usesAfterAncestorEnded,
      [disabled, used],
      1,
    ],
    ['is not a disabling without an introspection', chances.usesAfterAncestorEnded, [disabled], 0],
    [
      'is not a use after the parent grant ended, too',
      chances.usesAfterAncestorEnded,
      [returned, disabled, used],
      0,
    ],
    [
      'is not a use after the subject token was revoked, too',
      chances.usesAfterAncestorEnded,
      [disabled, revoked, used],
      0,
    ],
    [
      'is not a use after another subject token of its grant was revoked',
      chances.usesAfterAncestorEnded,
      [
        performed('mint', [10, 20], { agentId: 'agent', token: token({ jti: 'second' }) }),
        performed('exchange', [21, 25], {
          agentId: 'helper',
          by: { credential: 'other' },
          subjectJti: 'second',
          token: token({ jti: 'later', agentId: 'helper', grantId: 'child' }),
        }),
        performed('revoke-token', [26, 29], { jti: 'second' }),
        disabled,
        used,
      ],
      0,
    ],
    [
      'is an introspection after the subject token’s secret was withdrawn',
      chances.usesAfterSubjectEnded,
      [withdrawn, used],
      1,
    ],
    ['is not a withdrawal without an introspection', chances.usesAfterSubjectEnded, [withdrawn], 0],
    [
      'is not a use after the subject token was revoked, after a withdrawal',
      chances.usesAfterSubjectEnded,
      [withdrawn, revoked, used],
      0,
    ],
    [
      'is not a use after the ancestor’s agent was disabled, too',
      chances.usesAfterSubjectEnded,
      [withdrawn, disabled, used],
      0,
    ],
  ])('%s', (_what, counter, operations, expected) => {
    expect(count(counter, [requested, subject, exchanged, ...operations], 'helper')).toBe(expected);
  });
});

describe('an opportunity to find another fault', () => {
  const request = (times: [number, number]) =>
    performed('request', times, { agentId: 'agent', key: 'key', grants: [grant()] });

  it('is a grant that was read as expired and is stored as ended', () => {
    const seen = [saw('active', [0, 1]), saw('expired', [10_001, 10_002])];
    expect(count(chances.expiriesStored, seen, 'agent', ['grant'])).toBe(1);
    expect(count(chances.expiriesStored, seen, 'agent')).toBe(0);
    expect(count(chances.expiriesStored, seen.slice(0, 1), 'agent', ['grant'])).toBe(0);
    expect(count(chances.expiriesStored, seen, 'another', ['grant'])).toBe(0);
  });

  it('is an idempotency key with two responses', () => {
    expect(count(chances.keysRepeated, [request([0, 1]), request([2, 3])], 'agent')).toBe(1);
    expect(count(chances.keysRepeated, [request([0, 1])], 'agent')).toBe(0);
  });

  it('is an issued token', () => {
    expect(count(chances.tokensIssued, [minted()], 'agent')).toBe(1);
    expect(count(chances.tokensIssued, [minted()], 'another')).toBe(0);
  });

  it('is a grant that was read with its approvals', () => {
    expect(count(chances.approvalsSeen, [saw('active', [0, 1], { approvedBy: ['anna'] })], 'agent')).toBe(1);
    expect(count(chances.approvalsSeen, [saw('active', [0, 1])], 'agent')).toBe(0);
  });
});

describe('an opportunity to find a one-time value that is used twice', () => {
  const sent = (times: [number, number], once: string[], outcome: Operation['outcome'] = 'ok') =>
    performed('replay', times, { agentId: 'agent', once, outcome });
  const [assertion, other, proof] = ['assertion 1 of agent', 'assertion 2 of agent', 'proof 1 of key'];

  it.each<[string, chances.CountChances, Operation[], number]>([
    [
      'is a value in two concurrent requests',
      chances.assertionsSentTwice,
      [sent([0, 5], [assertion]), sent([1, 4], [assertion], 'refused')],
      1,
    ],
    [
      'is not a value in two requests that both failed',
      chances.assertionsSentTwice,
      [sent([0, 5], [assertion], 'refused'), sent([1, 4], [assertion], 'refused')],
      0,
    ],
    [
      'is not a value in two requests of which one got no response',
      chances.assertionsSentTwice,
      [sent([0, 5], [assertion]), sent([1, 4], [assertion], 'unknown')],
      0,
    ],
    [
      'is not a value in two requests that were not concurrent',
      chances.assertionsSentTwice,
      [sent([0, 5], [assertion]), sent([6, 7], [assertion], 'refused')],
      0,
    ],
    [
      'is a proof in two requests with different assertions',
      chances.proofsSentTwice,
      [sent([0, 5], [assertion, proof]), sent([1, 4], [other, proof], 'refused')],
      1,
    ],
    [
      'is not a proof in two requests with the same assertion, which is refused itself',
      chances.proofsSentTwice,
      [sent([0, 5], [assertion, proof]), sent([1, 4], [assertion, proof], 'refused')],
      0,
    ],
  ])('%s', (_what, counter, operations, expected) => {
    expect(count(counter, operations, 'agent')).toBe(expected);
  });
});
