import { describe, expect, it } from 'vitest';
import {
  finalState,
  fine,
  found,
  grant,
  history,
  minted,
  performed,
  saw,
  secret,
  token,
} from './hand-made.ts';
import type { FinalState, Operation } from './history.ts';

describe('a one-time operation', () => {
  const request = (times: [number, number], id: string, outcome: Operation['outcome'] = 'ok') =>
    performed('request', times, {
      agentId: 'agent',
      key: 'key',
      outcome,
      ...(outcome === 'ok' ? { grants: [grant({ id })] } : {}),
    });
  const approved = (times: [number, number], personId: string) =>
    performed('approve', times, { personId, grantId: 'grant', grants: [grant({ approvedBy: [personId] })] });

  it('creates one grant, however often it is sent', () => {
    expect(found(history(request([0, 1], 'a'), request([0, 2], 'a')))).toEqual(fine);
    expect(found(history(request([0, 1], 'a'), request([0, 2], 'b')))).toEqual([
      'one-time: key key made 2 grants',
    ]);
  });

  it('creates one grant even if its response was lost', () => {
    const rows = (...ids: string[]) =>
      finalState({ grantRows: ids.map((id) => ({ id, agentId: 'agent', reason: 'key' })) });
    const { operations } = history(request([0, 1], 'a', 'unknown'), request([2, 3], 'b'));
    expect(found({ operations, finalState: rows('b') })).toEqual(fine);
    expect(found({ operations, finalState: rows('a', 'b') })).toEqual(['one-time: key key made 2 grants']);
  });

  it('counts the approval of each person once', () => {
    expect(found(history(approved([0, 1], 'anna'), approved([0, 2], 'ben')))).toEqual(fine);
    expect(found(history(approved([0, 1], 'anna'), approved([0, 2], 'anna')))).toEqual([
      'one-time: anna approved grant grant 2 times',
    ]);
    const twice = performed('approve', [0, 1], {
      personId: 'anna',
      grantId: 'grant',
      grants: [grant({ approvedBy: ['anna', 'anna'] })],
    });
    expect(found(history(twice))).toEqual(['one-time: a person is counted twice for grant grant']);
  });
});

describe('an assertion or proof', () => {
  const sent = (times: [number, number], once: string[], outcome: Operation['outcome'] = 'ok') =>
    performed('replay', times, { agentId: 'agent', by: { credential: 'key' }, once, outcome });
  const assertion = 'assertion 1 of agent';
  const proof = 'proof 1 of thumbprint';

  it.each<[string, Operation[], string[]]>([
    ['is accepted once', [sent([0, 5], [assertion]), sent([1, 4], [assertion], 'refused')], fine],
    [
      'may be accepted after a request whose outcome is unknown',
      [sent([0, 5], [assertion], 'unknown'), sent([6, 7], [assertion])],
      fine,
    ],
    [
      'differs from that of another agent',
      [sent([0, 5], [assertion]), sent([1, 4], ['assertion 1 of another'])],
      fine,
    ],
    [
      'is not accepted by two replicas at once',
      [sent([0, 5], [assertion, proof]), sent([1, 4], [assertion, proof])],
      [`${assertion} was taken 2 times`, `${proof} was taken 2 times`],
    ],
    [
      '(a proof) is not accepted again with another assertion',
      [sent([0, 5], [assertion, proof]), sent([1, 4], ['assertion 2 of agent', proof])],
      [`${proof} was taken 2 times`],
    ],
    [
      'is not accepted later, with a request of unknown outcome between',
      [sent([0, 5], [assertion]), sent([6, 7], [assertion], 'unknown'), sent([900, 910], [assertion])],
      [`${assertion} was taken 2 times`],
    ],
  ])('%s', (_what, operations, expected) => {
    expect(found(history(...operations))).toEqual(expected.map((what) => `one-time: ${what}`));
  });
});

describe('the audit log', () => {
  const one = { jti: 'token', agentId: 'agent' };
  const whole = { tokenRows: [one], tokenEvents: [one], recordedRequests: new Set(['mint 10', 'return 30']) };
  const operations = [
    minted(),
    performed('return', [30, 40], { grantId: 'grant', grants: [grant({ status: 'returned' })] }),
  ];

  it.each<[string, Partial<FinalState>, string[]]>([
    ['is complete', {}, fine],
    [
      'lacks a row',
      { tokenRows: [] },
      ['token token was issued and has no row', 'token token has an event and no row'],
    ],
    [
      'lacks an event',
      { tokenEvents: [] },
      ['token token was issued and has no event', 'token token has a row and no event'],
    ],
    [
      'lacks the event of a change',
      { recordedRequests: new Set(['mint 10']) },
      ['return succeeded and has no event'],
    ],
  ])('%s', (_what, changes, expected) => {
    const wholeRun = { operations, finalState: finalState({ ...whole, ...changes }) };
    expect(found(wholeRun)).toEqual(expected.map((what) => `recorded: ${what}`));
  });
});

describe('the terms', () => {
  const asked = performed('request', [0, 1], {
    agentId: 'agent',
    key: 'key',
    scopes: ['read', 'write'],
    durationSeconds: 20,
    grants: [grant({ status: 'pending', startsAtMs: null, expiresAtMs: null })],
  });
  const narrowed = (times: [number, number], outcome: Operation['outcome'] = 'ok') =>
    performed('approve', times, {
      personId: 'anna',
      grantId: 'grant',
      scopes: ['read'],
      durationSeconds: 10,
      outcome,
    });
  const shown = (changes: Parameters<typeof grant>[0]) =>
    saw('active', [10, 11], { approvedBy: ['anna'], ...changes });

  it.each<[string, Operation[], string[]]>([
    ['hold', [asked, narrowed([2, 3]), shown({})], fine],
    [
      'are those of the approval once it was answered',
      [asked, narrowed([2, 3]), shown({ scopes: ['read', 'write'] })],
      ['grant grant has scopes beyond its approval'],
    ],
    [
      'have the duration of the approval once it was answered',
      [asked, narrowed([2, 3]), shown({ durationSeconds: 11 })],
      ['grant grant lasts longer than its approval'],
    ],
    [
      'need not be those of an approval that is not answered yet',
      [asked, narrowed([2, 12]), shown({ scopes: ['read', 'write'] })],
      fine,
    ],
    [
      'are within those of the request',
      [
        asked,
        narrowed([2, 12]),
        shown({ requestedDurationSeconds: 30, durationSeconds: 21, scopes: ['read'] }),
      ],
      ['grant grant lasts longer than its request'],
    ],
    [
      'do not last longer than their duration',
      [asked, narrowed([2, 3]), shown({ expiresAtMs: 10_001 })],
      ['grant grant runs longer than its duration'],
    ],
    [
      'need their approvals',
      [asked, saw('active', [10, 11], { scopes: ['write'] })],
      ['grant grant was active without its approvals'],
    ],
    [
      'have only approvals that were given',
      [asked, shown({})],
      ['grant grant shows an approval that anna did not give'],
    ],
    [
      'never change',
      [
        asked,
        narrowed([2, 3], 'unknown'),
        shown({}),
        saw('active', [20, 21], { approvedBy: ['anna'], expiresAtMs: 9_999 }),
      ],
      ['grant grant changed its terms after it was active'],
    ],
  ])('%s', (_what, operations, expected) => {
    expect(found(history(...operations))).toEqual(expected.map((what) => `within-terms: ${what}`));
  });

  it.each<[string, Parameters<typeof token>[0], string[]]>([
    ['is within them', {}, fine],
    [
      'has no other scopes',
      { scopes: ['read', 'write'] },
      ['has scopes that were not requested', 'has scopes beyond its grant'],
    ],
    ['ends with its grant', { expiresAtMs: 10_001 }, ['outlives its grant']],
    ['is under the requested grant', { grantId: null }, ['is under another grant than requested']],
  ])('a token %s', (_what, changes, expected) => {
    const mint = performed('mint-pinned', [20, 30], {
      ...secret,
      grantId: 'grant',
      scopes: ['read'],
      token: token(changes),
    });
    expect(found(history(saw('active', [10, 11]), mint))).toEqual(
      expected.map((what) => `within-terms: token token ${what}`),
    );
  });
});

describe('an exchanged token', () => {
  it.each<[string, Parameters<typeof token>[0], string[]]>([
    ['is within its subject token', {}, fine],
    ['has no other scopes', { scopes: ['read', 'write'] }, ['has scopes beyond its subject token']],
    ['ends with its subject token', { expiresAtMs: 9_001 }, ['outlives its subject token']],
  ])('%s', (_what, changes, expected) => {
    const got = token({ jti: 'other', agentId: 'helper', grantId: 'unseen', ...changes });
    const exchanged = performed('exchange', [21, 22], { agentId: 'helper', subjectJti: 'token', token: got });
    expect(found(history(minted(), exchanged))).toEqual(
      expected.map((what) => `within-terms: token other ${what}`),
    );
  });
});

describe('at the end', () => {
  const signed = (kid: string, signature: 'good' | 'bad' | 'no-key') =>
    finalState({
      signatures: [{ jti: 'token', agentId: 'agent', kid, signature }],
      compromisedKids: new Set(['leaked']),
    });
  const said = (...active: boolean[]) =>
    finalState({ opinions: [{ jti: 'token', agentId: 'agent', active }] });

  it.each<[string, FinalState, string[]]>([
    ['a token verifies', signed('key', 'good'), fine],
    [
      'a token of a missing key is found',
      signed('key', 'no-key'),
      ['verifiable: token token, signed with key: no-key'],
    ],
    [
      'a token that does not verify is found',
      signed('key', 'bad'),
      ['verifiable: token token, signed with key: bad'],
    ],
    ['a token of a compromised key does not verify', signed('leaked', 'no-key'), fine],
    [
      'a compromised key that is published is found',
      signed('leaked', 'good'),
      ['verifiable: token token, signed with leaked: good'],
    ],
    ['replicas agree', said(true, true, true), fine],
    [
      'replicas that disagree are found',
      said(true, false, true),
      ['agreement: the replicas disagree about token token: true, false, true'],
    ],
  ])('%s', (_what, end, expected) => {
    expect(found({ operations: [], finalState: end })).toEqual(expected);
  });

  it('a 500 is found, but a 503 is a known answer', () => {
    const answered = (status: number) => performed('read', [0, 1], { outcome: 'unknown', status });
    expect(found(history(answered(503)))).toEqual(fine);
    expect(found(history(answered(500)))).toEqual(['known-answers: read was answered with 500']);
  });
});
