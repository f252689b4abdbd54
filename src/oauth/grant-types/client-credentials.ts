import type { Checks, GrantType } from '../grant-type.ts';
import {
  readDetails,
  readGrantId,
  readMayAct,
  readResource,
  readScope,
  refuseExchangeRestrictions,
  refuseScopeWithoutResource,
  refuseTermsWithoutResource,
} from '../shape.ts';
import { openingSteps } from '../steps/authenticate-client.ts';
import { mintTokenOnDemand } from '../steps/mint-token.ts';
import { proveKey } from '../steps/prove-key.ts';
import { requestOwnToken } from '../steps/request-own-token.ts';

/** The checks of a request for a token whose subject is the client. */
export const ownToken: Checks = {
  shape: [
    refuseExchangeRestrictions,
    readResource,
    readScope,
    readGrantId,
    readDetails,
    readMayAct,
    refuseTermsWithoutResource,
    refuseScopeWithoutResource,
  ],
  steps: [...openingSteps, requestOwnToken, proveKey, mintTokenOnDemand],
};

/** The client credentials grant (RFC 6749 section 4.4). */
export const clientCredentials: GrantType = {
  name: 'client_credentials',
  checksOf: () => ownToken,
};
