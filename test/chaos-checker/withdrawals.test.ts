import { describe, expect, it } from 'vitest';
import { broker, fine, found, grant, history, minted, performed, secret, token } from './hand-made.ts';
import type { Operation } from './history.ts';

describe('the use of a withdrawn credential is found', () => {
  const by = (credential: string, agentId: string) => ({ agentId, by: { credential } });
  const down = (times: [number, number], agentId: string, [subjectJti, grantId]: [string, string]) =>
    performed('exchange', times, {
      ...by(`${agentId}'s`, agentId),
      subjectJti,
      token: token({ jti: `${agentId}'s token`, agentId, grantId }),
    });
  const lists = (times: [number, number], status = 'active') =>
    performed('list', times, {
      grants: [
        grant({ id: 'child', agentId: 'helper', parentId: 'grant', reason: 'down', status }),
        grant({ id: 'grandchild', agentId: 'third', parentId: 'child', reason: 'down', status }),
      ],
    });
  const line = [
    performed('request', [0, 5], { agentId: 'agent', key: 'key', grants: [grant()] }),
    minted(),
    down([21, 22], 'helper', ['token', 'child']),
    down([23, 24], 'third', ["helper's token", 'grandchild']),
    lists([25, 26]),
  ];
  const withdrawn = (credential: string, outcome: Operation['outcome'] = 'ok') =>
    performed('withdraw', [30, 40], { agentId: 'agent', credential, outcome });
  const used = (jti: string, times: [number, number] = [51, 60]) =>
    performed('introspect', times, { jti, active: true });
  const read = performed('read', [51, 60], { outcome: 'refused', status: 404, by: { brokerJti: 'broker' } });
  const narrowed = performed('exchange', [21, 22], {
    ...by('another', 'agent'),
    subjectJti: 'token',
    token: token({ jti: 'narrower' }),
  });
  const pinned = performed('mint-pinned', [51, 60], {
    ...by('another', 'third'),
    grantId: 'grandchild',
    token: token({ jti: 'late', agentId: 'third', grantId: 'grandchild' }),
  });

  it.each<[string, Operation[], string[]]>([
    [
      'in the use of its token',
      [withdrawn('secret'), used('token')],
      ['token token was used after withdraw had ended it'],
    ],
    ['but not during the withdrawal', [withdrawn('secret'), used('token', [39, 60])], fine],
    ['but not after a withdrawal of unknown outcome', [withdrawn('secret', 'unknown'), used('token')], fine],
    [
      'but not if another credential was withdrawn',
      [withdrawn('another'), used('token'), used("third's token")],
      fine,
    ],
    [
      'in the use of its broker token',
      [broker, withdrawn('secret'), read],
      ['token broker was used after withdraw had ended it'],
    ],
    [
      'in the authentication of its agent',
      [withdrawn('secret'), performed('revoke-token', [41, 42], { ...secret, jti: 'nothing' })],
      ['the agent was served although secret was withdrawn'],
    ],
    [
      'in a token that another agent obtained by exchange',
      [withdrawn('secret'), used("helper's token")],
      [
        "token helper's token was used after withdraw had ended it",
        'grant child was used after withdraw had ended it',
      ],
    ],
    [
      'in a token that a third agent obtained by exchange for that',
      [withdrawn('secret'), used("third's token")],
      [
        "token third's token was used after withdraw had ended it",
        'grant grandchild was used after withdraw had ended it',
      ],
    ],
    [
      'in a token that a third agent obtained through another',
      [withdrawn("helper's"), used("third's token")],
      [
        "token third's token was used after withdraw had ended it",
        'grant grandchild was used after withdraw had ended it',
      ],
    ],
    [
      'in a token that its own agent obtained by exchange, authenticated with another credential',
      [narrowed, withdrawn('secret'), used('narrower')],
      ['token narrower was used after withdraw had ended it'],
    ],
    [
      'but not in the grant of its own agent',
      [
        narrowed,
        withdrawn('secret'),
        performed('mint', [51, 60], { ...by('another', 'agent'), token: token({ jti: 'later' }) }),
      ],
      fine,
    ],
    [
      'in a grant that is shown as active after that',
      [withdrawn('secret'), lists([41, 50])],
      [
        'grant child was shown as active after withdraw had ended it',
        'grant grandchild was shown as active after withdraw had ended it',
      ],
    ],
    ['but not in a grant that is shown as revoked', [withdrawn('secret'), lists([41, 50], 'revoked')], fine],
    ['but not in a grant that was read before', [withdrawn('secret'), lists([40, 50])], fine],
    [
      'in a grant that was delegated for it, to mint',
      [withdrawn('secret'), pinned],
      ['grant grandchild was used after withdraw had ended it'],
    ],
  ])('%s', (_what, operations, expected) => {
    const all = found(history(...line, ...operations));
    expect(all).toEqual(expected.map((what) => `use-after-end: ${what}`));
  });
});
