import { BrokerError } from '../../errors.ts';
import type { MintRequest } from '../../tokens/mint.ts';
import { usableUntil } from '../../tokens/token-expiry.ts';
import { identifyClient } from '../client-request.ts';
import type { LimitedEndpoints } from '../endpoints.ts';
import { type Attempt, clientOf, type Step, type TokenCall } from '../grant-type.ts';
import { mayRequestGrant, requestOnDemand } from '../on-demand.ts';
import { isProofMissing } from '../token-exchange/exchange.ts';

/** Mints the token. Throws the errors of `mint`. */
export const mintToken: Step = async (endpoints, call, attempt) => {
  call.token = await endpoints.tokens.mint(toMintRequest(call), attempt);
  return afterMint(endpoints, call);
};

/** Mints the token, or requests the missing grant. Throws the errors of `mint` and `requestOnDemand`. */
export const mintTokenOnDemand: Step = async (endpoints, call, attempt) => {
  const mintRequest = toMintRequest(call);
  try {
    call.token = await endpoints.tokens.mint(mintRequest, attempt);
  } catch (error) {
    await requestGrant(endpoints, call, { mintRequest, error, attempt });
  }
  return afterMint(endpoints, call);
};

function toMintRequest(call: TokenCall): MintRequest {
  const { request, jkt, delegation, exchange: origin } = call;
  if (request === undefined) throw new BrokerError('internal', { internal: 'no step made a token request' });
  return { client: clientOf(call), request, origin, jkt, delegation };
}

function afterMint({ limits }: LimitedEndpoints, call: TokenCall): 'retry' | undefined {
  if (call.token === undefined) return 'retry';
  identifyClient(limits, call, clientOf(call).id);
  return undefined;
}

/** Requests the missing grant if the agent has opted in, and returns if minting is to be retried; else throws. */
async function requestGrant(
  { onDemand, exchange, clock, limits }: LimitedEndpoints,
  call: TokenCall,
  { mintRequest, error, attempt }: { mintRequest: MintRequest; error: unknown; attempt: Attempt },
): Promise<void> {
  const { client, request, origin, jkt } = mintRequest;
  if (request.kind !== 'access' || !mayRequestGrant(request, error)) throw error;
  // A cached client must not decide this: the agent may have opted in or out since.
  if (!attempt.fresh) return;
  if (!client.grantsOnDemand) throw error;
  identifyClient(limits, call, client.id);
  // No grant is requested if its tokens would be refused; a refusal must not reveal which resources exist.
  if (await isProofMissing(exchange, { client, jkt, aud: request.resource })) throw error;
  const until = usableUntil(clock.now());
  await requestOnDemand(onDemand, { client, origin, request, refusal: error, usableUntil: until });
}
