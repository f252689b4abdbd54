import type { Facts } from '../facts.ts';
import type { Violation } from '../history.ts';

/**
 * Finds tokens that do not verify with the published keys although their key was not compromised, and tokens whose
 * compromised key is still published. A signature is `good` if it verifies, and `no-key` if the JWKS lacks its key.
 */
export function verifiable({ finalState }: Facts): Violation[] {
  if (finalState === undefined) return [];
  return finalState.signatures
    .filter(({ kid, signature }) => signature !== (finalState.compromisedKids.has(kid) ? 'no-key' : 'good'))
    .map(({ jti, agentId, kid, signature }) => ({
      check: 'verifiable',
      agentId,
      what: `token ${jti}, signed with ${kid}: ${signature}`,
      operations: [],
    }));
}
