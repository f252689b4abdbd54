import { describe, expect, it } from 'vitest';
import type { Operation } from './history.ts';
import { broker, fine, found, grant, history, minted, secret, token, told } from './tale.ts';

describe('a use of what was got with a withdrawn credential is found', () => {
  const by = (credential: string, agentId: string) => ({ agentId, by: { credential } });
  const down = (times: [number, number], agentId: string, [subjectJti, grantId]: [string, string]) =>
    told('exchange', times, {
      ...by(`${agentId}'s`, agentId),
      subjectJti,
      token: token({ jti: `${agentId}'s token`, agentId, grantId }),
    });
  const lists = (times: [number, number], status = 'active') =>
    told('list', times, {
      grants: [
        grant({ id: 'child', agentId: 'helper', parentId: 'grant', reason: 'down', status }),
        grant({ id: 'grandchild', agentId: 'third', parentId: 'child', reason: 'down', status }),
      ],
    });
  const line = [
    told('request', [0, 5], { agentId: 'agent', key: 'key', grants: [grant()] }),
    minted(),
    down([21, 22], 'helper', ['token', 'child']),
    down([23, 24], 'third', ["helper's token", 'grandchild']),
    lists([25, 26]),
  ];
  const withdrawn = (credential: string, outcome: Operation['outcome'] = 'ok') =>
    told('withdraw', [30, 40], { agentId: 'agent', credential, outcome });
  const used = (jti: string, times: [number, number] = [51, 60]) =>
    told('introspect', times, { jti, active: true });
  const read = told('read', [51, 60], { outcome: 'refused', status: 404, by: { brokerJti: 'broker' } });
  const narrowed = told('exchange', [21, 22], {
    ...by('another', 'agent'),
    subjectJti: 'token',
    token: token({ jti: 'narrower' }),
  });
  const pinned = told('mint-pinned', [51, 60], {
    ...by('another', 'third'),
    grantId: 'grandchild',
    token: token({ jti: 'late', agentId: 'third', grantId: 'grandchild' }),
  });

  it.each<[string, Operation[], string[]]>([
    [
      'of a token',
      [withdrawn('secret'), used('token')],
      ['token token was used after withdraw had ended it'],
    ],
    ['but not while it is being withdrawn', [withdrawn('secret'), used('token', [39, 60])], fine],
    ['nor when nobody knows whether it was', [withdrawn('secret', 'unknown'), used('token')], fine],
    ['nor when it was another', [withdrawn('another'), used('token'), used("third's token")], fine],
    [
      'of a broker token',
      [broker, withdrawn('secret'), read],
      ['token broker was used after withdraw had ended it'],
    ],
    [
      'to prove the agent',
      [withdrawn('secret'), told('revoke-token', [41, 42], { ...secret, jti: 'nothing' })],
      ['the agent was served though secret was withdrawn'],
    ],
    [
      'by what another got in exchange',
      [withdrawn('secret'), used("helper's token")],
      [
        "token helper's token was used after withdraw had ended it",
        'grant child was used after withdraw had ended it',
      ],
    ],
    [
      'by what a third got in exchange for that',
      [withdrawn('secret'), used("third's token")],
      [
        "token third's token was used after withdraw had ended it",
        'grant grandchild was used after withdraw had ended it',
      ],
    ],
    [
      'by what a third got from one in between',
      [withdrawn("helper's"), used("third's token")],
      [
        "token third's token was used after withdraw had ended it",
        'grant grandchild was used after withdraw had ended it',
      ],
    ],
    [
      'by what its own agent got in exchange, though that has proved itself by another',
      [narrowed, withdrawn('secret'), used('narrower')],
      ['token narrower was used after withdraw had ended it'],
    ],
    [
      'but not by the grant of its own agent',
      [
        narrowed,
        withdrawn('secret'),
        told('mint', [51, 60], { ...by('another', 'agent'), token: token({ jti: 'later' }) }),
      ],
      fine,
    ],
    [
      'and so is a grant that is told as active after that',
      [withdrawn('secret'), lists([41, 50])],
      [
        'grant child was told as active after withdraw had ended it',
        'grant grandchild was told as active after withdraw had ended it',
      ],
    ],
    ['but not one that is told as revoked', [withdrawn('secret'), lists([41, 50], 'revoked')], fine],
    ['nor one that was read before', [withdrawn('secret'), lists([40, 50])], fine],
    [
      'by a grant that was got with it, to mint',
      [withdrawn('secret'), pinned],
      ['grant grandchild was used after withdraw had ended it'],
    ],
  ])('%s', (_what, operations, expected) => {
    const all = found(history(...line, ...operations));
    expect(all).toEqual(expected.map((what) => `use-after-end: ${what}`));
  });
});
