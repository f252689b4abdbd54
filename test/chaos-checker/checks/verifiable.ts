import type { Facts } from '../facts.ts';
import type { Violation } from '../history.ts';

/**
 * Finds tokens that do not verify with the published keys although their key was not compromised, and tokens whose
 * compromised key is still published. A signature is `good` if it verifies, and `no-key` if the JWKS lacks its key.
 */
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
