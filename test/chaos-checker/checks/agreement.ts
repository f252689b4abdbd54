import type { Facts } from '../facts.ts';
import type { Violation } from '../history.ts';

/** When all operations have ended, every replica returns the same state for each token. */
export function agreement({ ending }: Facts): Violation[] {
  return (ending?.opinions ?? [])
    .filter(({ active }) => new Set(active).size > 1)
    .map(({ jti, agentId, active }) => ({
      check: 'agreement',
      agentId,
      what: `the replicas disagree about token ${jti}: ${active.join(', ')}`,
      operations: [],
    }));
}
