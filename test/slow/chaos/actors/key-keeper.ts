import type { Answered } from '../../../chaos-checker/history.ts';
import type { Reply } from '../exchange.ts';
import type { Owner } from '../owner.ts';
import type { Player } from './player.ts';

const algorithms = ['ES256', 'EdDSA', 'RS256'];

/**
 * A statement that makes the prepared keys older, as if they had been published for longer than a JWKS may be cached: the
 * run cannot wait six minutes. The newest keys stay as they are, because the broker relies on having read a key long before
 * it signs.
 */
const letTimePass = `
  update signing_keys set created_at = created_at - interval '400 seconds'
   where state = 'prepared' and created_at between now() - interval '360 seconds' and now() - interval '3 seconds'`;

const showsKeys = ({ items }: Reply['body']): Answered => ({
  compromisedKids: items
    .filter(({ status }: { status: string }) => status === 'compromised')
    .map(({ id }: { id: string }) => id),
});

/**
 * Rotates the keys of one algorithm at each step. At every fourth step, or when the run needs nothing else, reports
 * its active key as compromised.
 */
export function createKeyKeeper(owner: Owner): (player: Player) => Promise<void> {
  let turn = 0;
  return async (player) => {
    await owner.tryQuery(letTimePass);
    turn += 1;
    const compromised = turn % 4 === 0 || (player.lacks('compromise') && !player.lacks('rotate'));
    const kind = compromised ? 'compromise' : 'rotate';
    await player.perform({
      kind,
      message: {
        path: '/v1/keys/rotate',
        bearer: player.world.adminKey,
        json: { alg: player.prng.pick(algorithms), compromised, reason: kind },
      },
      asked: {},
      read: showsKeys,
    });
  };
}
