import type { WorkloadAgent } from '../caller.ts';
import type { Dpop } from '../client-auth/dpop/dpop.ts';
import type { DpopRequest } from '../client-auth/dpop/dpop-request.ts';
import { noClient, type TokenReaders } from './active-token.ts';
import { assertHolder } from './assert-holder.ts';
import { brokerScope } from './token-request.ts';
import { rowKeyOf } from './verified-tokens.ts';

/** A broker token in a request. */
export interface BrokerCredential {
  scheme: 'Bearer' | 'DPoP';
  token: string;
  dpop: DpopRequest;
}

export interface BrokerTokenDeps extends TokenReaders {
  issuer: string;
  dpop: Dpop;
}

/**
 * Authenticates an agent by its broker token; undefined if the token is not an active broker token. Throws `unauthenticated`
 * for a token that is bound to a key, without a valid proof of that key.
 */
export async function authenticateHolder(
  deps: BrokerTokenDeps,
  { scheme, token, dpop }: BrokerCredential,
): Promise<WorkloadAgent | undefined> {
  const verified = await deps.tokens.verify(token);
  if (verified?.claims.aud !== deps.issuer || verified.claims.scope !== brokerScope) return undefined;
  const { jkt } = (verified.claims.cnf ?? {}) as { jkt?: string };
  // A bound token requires the DPoP scheme, and an unbound one must not use it (RFC 9449 section 7.2).
  if ((jkt !== undefined) !== (scheme === 'DPoP')) return undefined;
  const found = await deps.readActivity({ ...rowKeyOf(verified), ...noClient });
  // Only a token without a grant is a broker token; its claims alone do not decide that.
  if (found.agentId === null || found.resourceId !== null || found.authMethod === null) return undefined;
  if (jkt !== undefined) await assertHolder(deps.dpop.prove, { dpop, token, jkt, holder: found.agentId });
  return { kind: 'agent', id: found.agentId, authMethod: found.authMethod };
}
