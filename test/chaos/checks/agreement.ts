import type { Facts } from '../facts.ts';
import type { Violation } from '../history.ts';

/** When nothing happens any more, every replica says the same of every token. */
export function agreement({ ending }: Facts): Violation[] {
  return (ending?.opinions ?? [])
    .filter(({ active }) => new Set(active).size > 1)
    .map(({ jti, agentId, active }) => ({
      check: 'agreement',
      agentId,
      what: `of token ${jti} the replicas say ${active.join(', ')}`,
      operations: [],
    }));
}
