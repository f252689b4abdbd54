import { describe, expect, it } from 'vitest';
import { checkHistory } from './check.ts';
import { crossingsOf } from './checks/grant-states.ts';
import { factsOf } from './facts.ts';
import { broker, fine, found, grant, history, minted, performed, saw, token } from './hand-made.ts';
import type { Operation } from './history.ts';

const introspected = (times: [number, number], active = true): Operation =>
  performed('introspect', times, { jti: 'token', active });
const disabled = (times: [number, number]): Operation => performed('disable', times, { agentId: 'agent' });
const enabled = (times: [number, number], outcome: Operation['outcome'] = 'ok'): Operation =>
  performed('enable', times, { agentId: 'agent', outcome });

describe('the use of a delegated grant is found', () => {
  const requested = performed('request', [0, 5], { agentId: 'agent', key: 'key', grants: [grant()] });
  const child = { id: 'child', agentId: 'helper', parentId: 'grant', reason: 'delegated' };
  const handed = performed('exchange', [21, 25], {
    agentId: 'helper',
    by: { credential: 'secret' },
    subjectJti: 'token',
    token: token({ jti: 'handed', agentId: 'helper', grantId: 'child' }),
  });
  const used = performed('introspect', [51, 60], { jti: 'handed', active: true });
  const seen = (changes: object = {}) =>
    performed('list', [90, 95], { grants: [grant({ ...child, ...changes })] });
  const until = (kind: 'return' | 'disable' | 'revoke-token', rest: object) =>
    performed(kind, [30, 40], rest);

  it.each<[string, Operation[], RegExp | undefined]>([
    ['but not while its ancestors are active', [], undefined],
    ['after its parent was returned', [until('return', { grantId: 'grant' })], /return had ended it/],
    [
      'after the parent’s agent was disabled',
      [until('disable', { agentId: 'agent' })],
      /disable had ended it/,
    ],
    [
      'after the subject token was revoked',
      [until('revoke-token', { jti: 'token' })],
      /revoke-token had ended it/,
    ],
  ])('%s', (_, ended, what) => {
    const recorded = history(requested, minted(), handed, ...ended, used, seen({ status: 'revoked' }));
    const accused = found(recorded).filter((one) => one.includes('handed') || one.includes('child'));
    if (what === undefined) expect(accused).toEqual([]);
    else expect(accused.join()).toMatch(what);
  });

  it('also if it has more scopes than its parent, or lasts longer', () => {
    const wide = seen({ scopes: ['read', 'write'], expiresAtMs: 10_001, durationSeconds: 20 });
    expect(found(history(requested, saw('active', [6, 7]), wide))).toEqual([
      'within-terms: grant child has scopes beyond its parent',
      'within-terms: grant child outlives its parent',
    ]);
  });
});

describe('the use of something that has ended is found', () => {
  const requested = performed('request', [0, 5], { agentId: 'agent', key: 'key', grants: [grant()] });
  const revoked = (outcome: Operation['outcome'] = 'ok') =>
    performed('revoke-token', [30, 40], { jti: 'token', outcome });
  const ends = (kind: 'return' | 'revoke-grant', status: string): Operation =>
    performed(kind, [30, 40], { grantId: 'grant', grants: [grant({ status })] });
  const compromised = performed('compromise', [30, 40], { compromisedKids: ['key'] });
  const brokerUse = (times: [number, number], status: number) =>
    performed('read', times, { outcome: 'refused', status, by: { brokerJti: 'broker' }, agentId: 'agent' });

  it.each<[string, Operation[], string | undefined]>([
    [
      'of a revoked token',
      [minted(), revoked(), introspected([41, 50])],
      'token token was used after revoke-token had ended it',
    ],
    ['but not during the revocation', [minted(), revoked(), introspected([39, 50])], undefined],
    [
      'but not after a revocation of unknown outcome',
      [minted(), revoked('unknown'), introspected([41, 50])],
      undefined,
    ],
    ['but not if the token was refused', [minted(), revoked(), introspected([41, 50], false)], undefined],
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
      'but not of a grant during its revocation',
      [requested, ends('revoke-grant', 'revoked'), minted([40, 50])],
      undefined,
    ],
    [
      'of a grant after it was read as ended',
      [requested, saw('expired', [30, 40]), minted([41, 50])],
      'grant grant was used after read had ended it',
    ],
    [
      'of a token whose key was compromised',
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
      'of a broker token after its agent was disabled, even if its request was refused',
      [broker, disabled([30, 40]), brokerUse([41, 50], 404)],
      'token broker was used after disable had ended it',
    ],
    ['but not if authentication failed', [broker, disabled([30, 40]), brokerUse([41, 50], 401)], undefined],
  ])('%s', (_what, operations, expected) => {
    const all = found(history(...operations)).filter((one) => one.startsWith('use-after-end'));
    if (expected === undefined) expect(all).toEqual(fine);
    else expect(all).toContain(`use-after-end: ${expected}`);
  });

  it.each<[string, Operation[], boolean]>([
    [
      'does not become active again when the agent is enabled',
      [minted(), disabled([30, 40]), enabled([50, 60]), introspected([70, 80])],
      true,
    ],
    [
      'is valid if it was issued after that',
      [disabled([30, 40]), enabled([50, 60]), minted([61, 70]), introspected([80, 90])],
      false,
    ],
    [
      'was issued before the disabling, if nobody enabled the agent since',
      [disabled([30, 40]), minted([35, 45]), introspected([50, 60])],
      true,
    ],
    [
      'may have been issued after it, if the agent may have been enabled',
      [disabled([30, 40]), enabled([36, 38], 'unknown'), minted([35, 45]), introspected([50, 60])],
      false,
    ],
    ['is not minted for an agent that is disabled', [disabled([30, 40]), minted([41, 50])], true],
    [
      'may be minted for an agent that may be enabled',
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
    [
      'may go through its states',
      [saw('pending', [0, 1]), saw('active', [2, 3]), saw('expired', [4, 5])],
      fine,
    ],
    ['may skip states between two reads', [saw('pending', [0, 1]), saw('returned', [2, 3])], fine],
    ['may be read in an old state by a slow read', [saw('revoked', [5, 6]), saw('active', [2, 5])], fine],
    [
      'does not become active again',
      [saw('revoked', [0, 1]), saw('active', [2, 3])],
      [
        'use-after-end: grant grant was shown as active after read had ended it',
        'grant-states: grant grant was revoked, and then active',
      ],
    ],
    [
      'does not end twice',
      [saw('revoked', [0, 1]), saw('expired', [2, 3])],
      ['grant-states: grant grant was revoked, and then expired'],
    ],
    [
      'does not become pending again',
      [saw('active', [0, 1]), saw('pending', [2, 3])],
      ['grant-states: grant grant was active, and then pending'],
    ],
  ])('%s', (_what, operations, expected) => {
    expect(found(history(...operations))).toEqual(expected);
  });

  it('is in the state that a successful operation sets', () => {
    const returned = (status: string) =>
      performed('return', [0, 1], { grantId: 'grant', grants: [grant({ status })] });
    expect(found(history(returned('returned')))).toEqual(fine);
    expect(found(history(returned('active')))).toEqual([
      'grant-states: grant grant was active after return had succeeded',
    ]);
  });

  it('may be read as expired while it is being revoked, and only then', () => {
    const revoking = (times: [number, number]) =>
      performed('revoke-grant', times, { grantId: 'grant', grants: [grant({ status: 'revoked' })] });
    const expired = saw('expired', [10_001, 10_002]);
    const crossing = history(revoking([9_999, 10_003]), expired, saw('revoked', [10_004, 10_005]));
    expect(found(crossing)).toEqual(fine);
    expect(crossingsOf(factsOf(crossing))).toBe(1);
    const late = history(revoking([10_003, 10_004]), expired, saw('revoked', [10_005, 10_006]));
    expect(found(late)).toContain('grant-states: grant grant was expired, and then revoked');
    const below = { parentId: 'above' };
    const withdrawing = performed('withdraw', [9_999, 10_003], { agentId: 'other', credential: 'secret' });
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
