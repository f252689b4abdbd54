import type { Facts } from '../facts.ts';
import type { Violation } from '../history.ts';

/**
 * Finds the tokens that break this rule: a token verifies with the published keys (`good`), unless its key was compromised; the
 * JWKS does not have a compromised key (`no-key`).
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
