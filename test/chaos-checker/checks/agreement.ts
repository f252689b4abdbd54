import type { Facts } from '../facts.ts';
import type { Violation } from '../history.ts';

/** Finds tokens about which replicas disagree when all operations have ended. */
export function agreement({ finalState }: Facts): Violation[] {
  return (finalState?.opinions ?? [])
    .filter(({ active }) => new Set(active).size > 1)
    .map(({ jti, agentId, active }) => ({
      check: 'agreement',
      agentId,
      what: `the replicas disagree about token ${jti}: ${active.join(', ')}`,
      operations: [],
    }));
}
