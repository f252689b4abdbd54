import { describe, expect, it } from 'vitest';
import { checkHistory } from './check.ts';
import { crossingsOf } from './checks/grant-states.ts';
import { factsOf } from './facts.ts';
import type { Operation } from './history.ts';
import { broker, fine, found, grant, history, minted, saw, token, told } from './tale.ts';

const introspected = (times: [number, number], active = true): Operation =>
  told('introspect', times, { jti: 'token', active });
const disabled = (times: [number, number]): Operation => told('disable', times, { agentId: 'agent' });
const enabled = (times: [number, number], outcome: Operation['outcome'] = 'ok'): Operation =>
  told('enable', times, { agentId: 'agent', outcome });

describe('a use of what was handed down is found', () => {
  const requested = told('request', [0, 5], { agentId: 'agent', key: 'key', grants: [grant()] });
  const child = { id: 'child', agentId: 'helper', parentId: 'grant', reason: 'handed down' };
  const handed = told('exchange', [21, 25], {
    agentId: 'helper',
    by: { credential: 'secret' },
    subjectJti: 'token',
    token: token({ jti: 'handed', agentId: 'helper', grantId: 'child' }),
  });
  const used = told('introspect', [51, 60], { jti: 'handed', active: true });
  const seen = (changes: object = {}) =>
    told('list', [90, 95], { grants: [grant({ ...child, ...changes })] });
  const until = (kind: 'return' | 'disable' | 'revoke-token', rest: object) => told(kind, [30, 40], rest);

  it.each<[string, Operation[], RegExp | undefined]>([
    ['but not while all lasts', [], undefined],
    ['after the grant above was returned', [until('return', { grantId: 'grant' })], /return had ended it/],
    ['after its agent was disabled', [until('disable', { agentId: 'agent' })], /disable had ended it/],
    ['after the token was revoked', [until('revoke-token', { jti: 'token' })], /revoke-token had ended it/],
  ])('%s', (_, ended, what) => {
    const tale = history(requested, minted(), handed, ...ended, used, seen({ status: 'revoked' }));
    const accused = found(tale).filter((one) => one.includes('handed') || one.includes('child'));
    if (what === undefined) expect(accused).toEqual([]);
    else expect(accused.join()).toMatch(what);
  });

  it('also where it is wider than the grant above, or lasts longer', () => {
    const wide = seen({ scopes: ['read', 'write'], expiresAtMs: 10_001, durationSeconds: 20 });
    expect(found(history(requested, saw('active', [6, 7]), wide))).toEqual([
      'within-terms: grant child has scopes beyond the grant above it',
      'within-terms: grant child outlives the grant above it',
    ]);
  });
});

describe('a use after the end is found', () => {
  const requested = told('request', [0, 5], { agentId: 'agent', key: 'key', grants: [grant()] });
  const revoked = (outcome: Operation['outcome'] = 'ok') =>
    told('revoke-token', [30, 40], { jti: 'token', outcome });
  const ends = (kind: 'return' | 'revoke-grant', status: string): Operation =>
    told(kind, [30, 40], { grantId: 'grant', grants: [grant({ status })] });
  const compromised = told('compromise', [30, 40], { compromisedKids: ['key'] });
  const brokerUse = (times: [number, number], status: number) =>
    told('read', times, { outcome: 'refused', status, by: { brokerJti: 'broker' }, agentId: 'agent' });

  it.each<[string, Operation[], string | undefined]>([
    [
      'of a revoked token',
      [minted(), revoked(), introspected([41, 50])],
      'token token was used after revoke-token had ended it',
    ],
    ['but not while it was being revoked', [minted(), revoked(), introspected([39, 50])], undefined],
    [
      'nor when nobody knows whether it was',
      [minted(), revoked('unknown'), introspected([41, 50])],
      undefined,
    ],
    ['nor when it was refused', [minted(), revoked(), introspected([41, 50], false)], undefined],
    [
      'of a token after its grant was returned',
      [requested, minted(), ends('return', 'returned'), introspected([41, 50])],
      'token token was used after return had ended it',
    ],
    [
      'of a grant that was revoked, to mint',
      [requested, ends('revoke-grant', 'revoked'), minted([41, 50])],
      'grant grant was used after revoke-grant had ended it',
    ],
    [
      'but not of one that was being revoked',
      [requested, ends('revoke-grant', 'revoked'), minted([40, 50])],
      undefined,
    ],
    [
      'of a grant after a reader saw that it had ended',
      [requested, saw('expired', [30, 40]), minted([41, 50])],
      'grant grant was used after read had ended it',
    ],
    [
      'of a token whose key had leaked',
      [minted(), compromised, introspected([41, 50])],
      'token token was used after compromise had ended it',
    ],
    [
      'of a token that had expired',
      [minted(), introspected([9_000, 9_010])],
      'token token was used 0 ms after it had expired',
    ],
    ['but not in its last millisecond', [minted(), introspected([8_999, 9_010])], undefined],
    [
      'of a broker token after its agent was disabled, whatever it was told',
      [broker, disabled([30, 40]), brokerUse([41, 50], 404)],
      'token broker was used after disable had ended it',
    ],
    ['but not if it was not let in', [broker, disabled([30, 40]), brokerUse([41, 50], 401)], undefined],
  ])('%s', (_what, operations, expected) => {
    const all = found(history(...operations)).filter((one) => one.startsWith('use-after-end'));
    if (expected === undefined) expect(all).toEqual(fine);
    else expect(all).toContain(`use-after-end: ${expected}`);
  });

  it.each<[string, Operation[], boolean]>([
    [
      'is not revived when the agent is enabled',
      [minted(), disabled([30, 40]), enabled([50, 60]), introspected([70, 80])],
      true,
    ],
    [
      'is good if it was made after that',
      [disabled([30, 40]), enabled([50, 60]), minted([61, 70]), introspected([80, 90])],
      false,
    ],
    [
      'was made before, if nobody enabled the agent since',
      [disabled([30, 40]), minted([35, 45]), introspected([50, 60])],
      true,
    ],
    [
      'may have been made after, if somebody may have',
      [disabled([30, 40]), enabled([36, 38], 'unknown'), minted([35, 45]), introspected([50, 60])],
      false,
    ],
    ['is not minted for an agent that is disabled', [disabled([30, 40]), minted([41, 50])], true],
    [
      'may be minted for one that may be enabled',
      [disabled([30, 40]), enabled([42, 43], 'unknown'), minted([41, 50])],
      false,
    ],
  ])('a token %s', (_what, operations, isViolation) => {
    const checks = checkHistory(history(...operations)).map(({ check }) => check);
    expect(new Set(checks)).toEqual(new Set(isViolation ? ['use-after-end'] : []));
  });
});

describe('a grant', () => {
  it.each<[string, Operation[], string[]]>([
    ['may go its way', [saw('pending', [0, 1]), saw('active', [2, 3]), saw('expired', [4, 5])], fine],
    ['may skip what nobody saw', [saw('pending', [0, 1]), saw('returned', [2, 3])], fine],
    ['may be seen late by a slow reader', [saw('revoked', [5, 6]), saw('active', [2, 5])], fine],
    [
      'does not come back',
      [saw('revoked', [0, 1]), saw('active', [2, 3])],
      [
        'use-after-end: grant grant was told as active after read had ended it',
        'grant-states: grant grant was revoked, and then active',
      ],
    ],
    [
      'does not end twice',
      [saw('revoked', [0, 1]), saw('expired', [2, 3])],
      ['grant-states: grant grant was revoked, and then expired'],
    ],
    [
      'is not asked for again',
      [saw('active', [0, 1]), saw('pending', [2, 3])],
      ['grant-states: grant grant was active, and then pending'],
    ],
  ])('%s', (_what, operations, expected) => {
    expect(found(history(...operations))).toEqual(expected);
  });

  it('is what an act has made of it', () => {
    const returned = (status: string) =>
      told('return', [0, 1], { grantId: 'grant', grants: [grant({ status })] });
    expect(found(history(returned('returned')))).toEqual(fine);
    expect(found(history(returned('active')))).toEqual([
      'grant-states: grant grant was active after return had succeeded',
    ]);
  });

  it('may expire in the eyes of who reads while it is being revoked, and only then', () => {
    const revoking = (times: [number, number]) =>
      told('revoke-grant', times, { grantId: 'grant', grants: [grant({ status: 'revoked' })] });
    const expired = saw('expired', [10_001, 10_002]);
    const crossing = history(revoking([9_999, 10_003]), expired, saw('revoked', [10_004, 10_005]));
    expect(found(crossing)).toEqual(fine);
    expect(crossingsOf(factsOf(crossing))).toBe(1);
    const late = history(revoking([10_003, 10_004]), expired, saw('revoked', [10_005, 10_006]));
    expect(found(late)).toContain('grant-states: grant grant was expired, and then revoked');
    const below = { parentId: 'above' };
    const withdrawing = told('withdraw', [9_999, 10_003], { agentId: 'other', credential: 'secret' });
    const handedDown = [
      saw('expired', [10_001, 10_002], below),
      withdrawing,
      saw('revoked', [10_004, 10_005], below),
    ];
    expect(found(history(...handedDown))).toEqual(fine);
    const done = history(revoking([9_000, 9_999]), expired, saw('revoked', [10_004, 10_005]));
    expect(found(done)).toContain('grant-states: grant grant was revoked, and then expired');
  });
});
