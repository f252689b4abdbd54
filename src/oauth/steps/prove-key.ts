import { BrokerError } from '../../errors.ts';
import { identifyClient } from '../client-request.ts';
import type { LimitedEndpoints } from '../endpoints.ts';
import { clientOf, type Step, type TokenCall } from '../grant-type.ts';

/**
 * Verifies the DPoP proof if there is one: the token will be bound to its key. Throws `invalid-dpop-proof`,
 * `use-dpop-nonce`.
 */
export const proveKey: Step = (endpoints, call) =>
  call.dpop.proofs.length === 0 ? undefined : waitForProof(endpoints, call);

async function waitForProof({ dpop, limits }: LimitedEndpoints, call: TokenCall): Promise<undefined> {
  try {
    call.jkt = await dpop.prove(call.dpop);
  } catch (error) {
    // A client that is asked for a nonce has authenticated: its request does not count as unauthenticated.
    if (error instanceof BrokerError && error.code === 'use-dpop-nonce') {
      identifyClient(limits, call, clientOf(call).id);
    }
    throw error;
  }
}
