import { decodeJwt } from 'jose';
import { namesActor } from '../../client-auth/restrictions.ts';
import { BrokerError } from '../../errors.ts';
import type { TokenRequest } from '../../tokens/token-request.ts';
import type { Step } from '../grant-type.ts';
import { isForBroker, type TokenParameters } from '../shape.ts';

/** Makes the request for a token whose subject is the client. */
export const requestOwnToken: Step = ({ issuer }, call) => {
  call.request = toTokenRequest(call.parameters, issuer);
  return undefined;
};

export function toTokenRequest(parameters: TokenParameters, issuer: string): TokenRequest {
  const { resource, scopes, grantId, authorizationDetails, mayAct } = parameters;
  if (resource === undefined || isForBroker(parameters, issuer)) return { kind: 'broker' };
  return { kind: 'access', resource, scopes, grantId, authorizationDetails, mayAct };
}

/**
 * Refuses a subject token that has authenticated the client and names an actor (RFC 8693 section 4.4). Throws
 * `invalid-subject-token`.
 */
export const refuseNamedActor: Step = (_, call) => {
  if (namesActor(decodeJwt(call.form.get('subject_token') ?? ''))) {
    throw new BrokerError('invalid-subject-token', {
      detail: 'it has may_act, and its own subject uses it',
    });
  }
  return undefined;
};
