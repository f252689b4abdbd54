import type { WorkloadAgent } from '../caller.ts';
import { BrokerError } from '../errors.ts';
import type { Dpop, DpopRequest } from './dpop/dpop.ts';
import type { Activity, ActivityQuery } from './store.ts';
import { brokerScope } from './token-request.ts';
import { nameOf, type VerifiedTokens } from './verified-tokens.ts';

/** A broker token, and how it was sent. */
export interface BrokerCredential {
  scheme: 'Bearer' | 'DPoP';
  token: string;
  dpop: DpopRequest;
}

export interface BrokerTokenDeps {
  issuer: string;
  tokens: VerifiedTokens;
  dpop: Dpop;
  readActivity: (query: ActivityQuery) => Promise<Activity>;
}

/**
 * The agent that holds a broker token, or undefined if it is not good now. Throws `unauthenticated` for a token that is bound
 * to a key without a good proof of it.
 */
export async function authenticateHolder(
  context: BrokerTokenDeps,
  { scheme, token, dpop }: BrokerCredential,
): Promise<WorkloadAgent | undefined> {
  const good = await context.tokens.verify(token);
  if (good?.claims.aud !== context.issuer || good.claims.scope !== brokerScope) return undefined;
  const { jkt } = (good.claims.cnf ?? {}) as { jkt?: string };
  // A bound token is none without its proof, and one that is not bound cannot be proved (RFC 9449 section 7.2).
  if ((jkt !== undefined) !== (scheme === 'DPoP')) return undefined;
  const none = { client_kind: null, client_id: null, client_epoch: null, secret_id: null };
  const found = await context.readActivity({ ...nameOf(good), ...none });
  // Only a token without a grant is a broker token, whatever its claims say.
  if (found.agentId === null || found.resourceId !== null || found.authMethod === null) return undefined;
  if (jkt !== undefined) await assertHolder(context, { dpop, token, jkt, holder: found.agentId });
  return { kind: 'agent', id: found.agentId, authMethod: found.authMethod };
}

/** On `/v1` a proof that is not good is a credential that is not (RFC 9449 section 7.1). */
async function assertHolder(
  context: BrokerTokenDeps,
  { dpop, token, jkt, holder }: { dpop: DpopRequest; token: string; jkt: string; holder: string },
): Promise<void> {
  const forged = { challenge: 'invalid_dpop_proof', holder } as const;
  const proved = await context.dpop.prove(dpop, token).catch((error: unknown) => {
    if (!(error instanceof BrokerError) || error.entry.status >= 500) throw error;
    const { code, detail = error.entry.title } = error;
    const told = code === 'use-dpop-nonce' ? ({ challenge: 'use_dpop_nonce' } as const) : forged;
    throw new BrokerError('unauthenticated', { ...told, detail });
  });
  if (proved !== jkt) throw new BrokerError('unauthenticated', forged);
}
