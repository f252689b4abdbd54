import type { Detail } from '../authorization-details/details-type.ts';
import { readAuthorizationDetails } from '../authorization-details/read.ts';
import { BrokerError } from '../errors.ts';
import type { Form } from '../http/form-encoding.ts';
import { brokerScope } from '../tokens/token-request.ts';

/** The parameters of a token request, filled in by the shape checks of its grant type. */
export interface TokenParameters {
  resource: string | undefined;
  /** Distinct, in the requested order; undefined if the request names none. */
  scopes: string[] | undefined;
  grantId: string | undefined;
  authorizationDetails: Detail[] | undefined;
  mayAct: string | undefined;
  /** The type of the token that an exchange issues; undefined for other grant types. */
  issuedTokenType: string | undefined;
}

export function emptyParameters(): TokenParameters {
  return {
    resource: undefined,
    scopes: undefined,
    grantId: undefined,
    authorizationDetails: undefined,
    mayAct: undefined,
    issuedTokenType: undefined,
  };
}

/** Checks one rule about the form of a token request. Reads no database and knows no client. Throws a `BrokerError`. */
export type ShapeCheck = (form: Form, parameters: TokenParameters, issuer: string) => void;

const scopeToken = /^[!#-[\]-~]{1,128}$/;
const maxScopes = 100;
const longestScope = 4_400;

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-request', { detail });
}

function refuseParameters(form: Form, names: readonly string[]): void {
  const unsupported = names.filter((name) => form.has(name));
  if (unsupported.length > 0) {
    throw new BrokerError('not-supported', { detail: `not supported: ${unsupported.join(', ')}` });
  }
}

/** Parameters that restrict a token: ignoring one would issue more than the client requested. */
const restrictions = ['claims', 'dpop_jkt', 'req_cnf'];
const restrictionsOutsideExchange = [...restrictions, 'audience', 'actor_token'];

/** Refuses restrictions that no grant type supports. Throws `not-supported`. */
export const refuseRestrictions: ShapeCheck = (form) => refuseParameters(form, restrictions);

/** Refuses these, and the restrictions that only an exchange supports. Throws `not-supported`. */
export const refuseExchangeRestrictions: ShapeCheck = (form) =>
  refuseParameters(form, restrictionsOutsideExchange);

/**
 * Reads the resource (RFC 8707), which an exchange may name as `audience` (RFC 8693 section 2.1). Throws
 * `invalid-target`.
 */
export const readResource: ShapeCheck = (form, parameters) => {
  const resource = form.get('resource');
  const audience = form.get('audience');
  if (resource !== undefined && audience !== undefined && resource !== audience) {
    throw new BrokerError('invalid-target', { detail: 'resource and audience must be the same' });
  }
  parameters.resource = resource ?? audience;
};

/** Reads `scope`: tokens separated by single spaces (RFC 6749 section 3.3). Throws `invalid-scope`. */
export const readScope: ShapeCheck = (form, parameters) => {
  const text = form.get('scope');
  if (text === undefined) return;
  if (text.length > longestScope) {
    throw new BrokerError('invalid-scope', { detail: 'scope is too long for a token' });
  }
  const scopes = text.split(' ');
  if (scopes.length > maxScopes || !scopes.every((scope) => scopeToken.test(scope))) {
    throw new BrokerError('invalid-scope', { detail: 'scope is malformed' });
  }
  parameters.scopes = [...new Set(scopes)];
};

export const readGrantId: ShapeCheck = (form, parameters) => {
  parameters.grantId = form.get('grant_id');
};

/** Reads `authorization_details` (RFC 9396 section 6). Throws `invalid-authorization-details`. */
export const readDetails: ShapeCheck = (form, parameters) => {
  const text = form.get('authorization_details');
  if (text !== undefined) parameters.authorizationDetails = readAuthorizationDetails(text);
};

/** Reads the agent that may act with the token. Throws `invalid-request`. */
export const readMayAct: ShapeCheck = (form, parameters) => {
  const mayAct = form.get('may_act');
  if (mayAct !== undefined && !/^agt_[0-9a-z]{26}$/.test(mayAct)) {
    throw malformed('may_act must be the id of an agent');
  }
  parameters.mayAct = mayAct;
};

/** Whether the request is for a broker token: it names no resource, or this server as the resource. */
export function isForBroker({ resource }: Pick<TokenParameters, 'resource'>, issuer: string): boolean {
  return resource === undefined || resource === issuer || resource === `${issuer}/`;
}

/** Refuses a grant, details or an actor in a request for a broker token. Throws `invalid-request`, `invalid-target`. */
export const refuseTermsWithoutResource: ShapeCheck = (_, parameters, issuer) => {
  if (!isForBroker(parameters, issuer)) return;
  if (parameters.grantId !== undefined) throw malformed('grant_id requires resource');
  if (parameters.authorizationDetails !== undefined || parameters.mayAct !== undefined) {
    throw new BrokerError('invalid-target', {
      detail: 'authorization_details and may_act require resource',
    });
  }
};

/** Refuses scopes without a resource (`invalid-target`) and unknown scopes of the broker (`invalid-scope`). */
export const refuseScopeWithoutResource: ShapeCheck = (_, parameters, issuer) => {
  const { resource, scopes } = parameters;
  if (scopes === undefined || !isForBroker(parameters, issuer)) return;
  if (resource === undefined) {
    throw new BrokerError('invalid-target', { detail: 'scope requires resource' });
  }
  if (scopes.join(' ') !== brokerScope) {
    throw new BrokerError('invalid-scope', { detail: `the only scope of this resource is ${brokerScope}` });
  }
};
