import { BrokerError } from '../../errors.ts';
import { createBoundedCache } from '../../platform/bounded-cache.ts';
import type { Clock } from '../../platform/clock.ts';
import type { OneTimeValues } from '../../replay/one-time-values.ts';
import type { DpopNonces } from './dpop-nonces.ts';
import { type HolderKeys, verifyDpopProof } from './dpop-proof.ts';
import type { DpopRequest } from './dpop-request.ts';

export interface Dpop {
  /**
   * Verifies and consumes the request's proof. Returns the thumbprint of the key that the sender holds;
   * undefined if the request has no proof. Throws `invalid-dpop-proof`, `use-dpop-nonce`, `overloaded`.
   */
  prove(request: DpopRequest, accessToken?: string): Promise<string | undefined>;
}

export interface DpopDeps {
  clock: Clock;
  issuer: string;
  nonces: DpopNonces;
  /** Whether a proof without a nonce is refused. */
  requireNonce: boolean;
  oneTimeValues: OneTimeValues;
}

/** Checks DPoP proofs (RFC 9449). */
export function createDpop(deps: DpopDeps): Dpop {
  const seen = new WeakMap<DpopRequest, Promise<string>>();
  const known: HolderKeys = createBoundedCache();

  async function verify(request: DpopRequest, accessToken: string | undefined): Promise<string> {
    const [text = '', ...more] = request.proofs;
    if (more.length > 0) throw invalid('several DPoP headers');
    const { nonces, requireNonce } = deps;
    const about = {
      method: request.method,
      url: `${deps.issuer}${request.path}`,
      accessToken,
      // A nonce that is sent must be valid, even where none is required.
      isGoodNonce: (nonce: unknown) => (nonce === undefined && !requireNonce) || nonces.isGood(nonce),
      now: deps.clock.now(),
    };
    const verified = await verifyDpopProof(text, about, known);
    if (!verified.ok) {
      throw verified.reason === 'wrong-nonce' ? new BrokerError('use-dpop-nonce') : invalid(verified.reason);
    }
    const { jkt, jti, endsAt } = verified.proof;
    const value = { purpose: 'dpop_proof' as const, issuer: jkt, jti, exp: endsAt };
    if (!(await deps.oneTimeValues.use(value))) throw invalid('used before');
    return jkt;
  }

  return {
    async prove(request, accessToken) {
      if (request.proofs.length === 0) return undefined;
      const known = seen.get(request);
      if (known !== undefined) return known;
      const proof = verify(request, accessToken);
      seen.set(request, proof);
      return proof;
    },
  };
}

function invalid(reason: string): BrokerError {
  return new BrokerError('invalid-dpop-proof', { detail: `invalid DPoP proof: ${reason}` });
}
