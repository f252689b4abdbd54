import type { Facts } from '../facts.ts';
import type { Violation } from '../history.ts';

/** Every token verifies with the published keys, unless its key is out; then it does not. */
export function verifiable({ ending }: Facts): Violation[] {
  if (ending === undefined) return [];
  return ending.signatures
    .filter(({ kid, signature }) => signature !== (ending.compromisedKids.has(kid) ? 'no-key' : 'good'))
    .map(({ jti, agentId, kid, signature }) => ({
      check: 'verifiable',
      agentId,
      what: `token ${jti}, signed with ${kid}: ${signature}`,
      operations: [],
    }));
}
