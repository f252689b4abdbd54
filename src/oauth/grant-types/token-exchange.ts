import type { ClientCredentials } from '../../client-auth/client-credentials.ts';
import type { Form } from '../../http/form-encoding.ts';
import type { Checks, GrantType } from '../grant-type.ts';
import {
  readDetails,
  readGrantId,
  readMayAct,
  readResource,
  readScope,
  refuseRestrictions,
  refuseScopeWithoutResource,
  refuseTermsWithoutResource,
} from '../shape.ts';
import { openingSteps } from '../steps/authenticate-client.ts';
import {
  admitExchange,
  exchangeSubjectToken,
  mintExchangedToken,
  recallExchange,
} from '../steps/exchange-subject-token.ts';
import { mintTokenOnDemand } from '../steps/mint-token.ts';
import { proveKey } from '../steps/prove-key.ts';
import { refuseNamedActor, requestOwnToken } from '../steps/request-own-token.ts';
import { readTokenTypes, refuseActorToken, refuseGrantId } from '../token-exchange/exchange-shape.ts';

export const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** The checks of an exchange by a client that does not authenticate with the subject token. */
const exchange: Checks = {
  shape: [
    readTokenTypes,
    refuseRestrictions,
    readResource,
    readScope,
    refuseGrantId,
    readDetails,
    readMayAct,
  ],
  steps: [...openingSteps, admitExchange, recallExchange, proveKey, exchangeSubjectToken, mintExchangedToken],
};

/** The checks of an exchange of the token that authenticates the client, for a token whose subject is the client. */
const exchangeOfAuthentication: Checks = {
  shape: [
    readTokenTypes,
    refuseActorToken,
    refuseRestrictions,
    readResource,
    readScope,
    readGrantId,
    readDetails,
    readMayAct,
    refuseTermsWithoutResource,
    refuseScopeWithoutResource,
  ],
  steps: [...openingSteps, requestOwnToken, refuseNamedActor, proveKey, mintTokenOnDemand],
};

function isAuthentication(credentials: ClientCredentials, form: Form): boolean {
  return credentials.method === 'client_assertion' && credentials.assertion === form.get('subject_token');
}

/** Token exchange (RFC 8693). */
export const tokenExchange: GrantType = {
  name: exchangeGrant,
  // RFC 8693 section 2.2.2: an invalid subject token is an invalid request.
  authentication: { parameter: 'subject_token', isRequired: false, failure: 'invalid-subject-token' },
  checksOf: (form, credentials) =>
    isAuthentication(credentials, form) ? exchangeOfAuthentication : exchange,
};
