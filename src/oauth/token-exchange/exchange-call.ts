import type { Detail } from '../../authorization-details/details-type.ts';
import type { Origin } from '../../caller.ts';
import type { AuthenticatedClient } from '../../client-auth/authenticated-client.ts';
import type { Delegation } from '../../grants/delegation.ts';
import type { AccessRequest, InheritedLimits } from '../../tokens/token-request.ts';

/** The parameters of an exchange by a client that did not authenticate with the subject token. */
export interface ExchangeRequest {
  resource: string | undefined;
  scopes: string[] | undefined;
  authorizationDetails: Detail[] | undefined;
  mayAct: string | undefined;
  subjectToken: string;
  /** Undefined if the request has none: the authenticated client is the actor. */
  actorToken: string | undefined;
}

export interface ExchangeCall {
  client: AuthenticatedClient;
  origin: Origin;
  request: ExchangeRequest;
  /** The thumbprint of the key whose possession this request proves. */
  jkt: string | undefined;
}

/** The result of an exchange: the token to mint. */
export interface Exchanged {
  request: AccessRequest & InheritedLimits;
  /** The subject and the actors of the token; undefined if its subject is the client itself. */
  delegation: Delegation | undefined;
}
