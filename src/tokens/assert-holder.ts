import type { Dpop } from '../client-auth/dpop/dpop.ts';
import type { DpopRequest } from '../client-auth/dpop/dpop-request.ts';
import { BrokerError } from '../errors.ts';

/** A request with a token that is bound to a key. */
export interface BoundRequest {
  dpop: DpopRequest;
  token: string;
  /** The thumbprint of the key. */
  jkt: string;
  /** The agent of the token. */
  holder: string;
}

/**
 * Asserts that a request with a bound token has a valid proof of its key. Throws `unauthenticated`: where a token is used, an
 * invalid proof is an invalid credential (RFC 9449 section 7.1).
 */
export async function assertHolder(prove: Dpop['prove'], request: BoundRequest): Promise<void> {
  const { dpop, token, jkt, holder } = request;
  const invalidProof = { challenge: 'invalid_dpop_proof', holder } as const;
  const proved = await prove(dpop, token).catch((error: unknown) => {
    if (!(error instanceof BrokerError) || error.entry.status >= 500) throw error;
    const { code, detail = error.entry.title } = error;
    const options = code === 'use-dpop-nonce' ? ({ challenge: 'use_dpop_nonce' } as const) : invalidProof;
    throw new BrokerError('unauthenticated', { ...options, detail });
  });
  if (proved !== jkt) throw new BrokerError('unauthenticated', invalidProof);
}
