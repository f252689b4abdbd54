import type { Detail } from '../authorization-details/details-type.ts';
import { readAuthorizationDetails } from '../authorization-details/read.ts';
import { BrokerError } from '../errors.ts';
import { exchangeGrant, jwtBearerGrant } from './clients/client-credentials.ts';
import type { Form } from './form.ts';

/** What a client asks a token for. */
export type TokenRequest = (
  | { kind: 'broker'; mayAct?: undefined }
  | {
      kind: 'access';
      resource: string;
      /** Undefined: all scopes of the one active grant. Distinct, in the order asked. */
      scopes: string[] | undefined;
      grantId: string | undefined;
      /** Undefined: all that the grant has. */
      authorizationDetails: Detail[] | undefined;
      /** The agent that may act for the client with the token (RFC 8693 section 4.4). */
      mayAct?: string | undefined;
    }
) & {
  /** When the token ends that it is asked for in exchange: none lives longer. */
  notAfter?: Date;
  /** That token, and those that it was got with: it is worth no more than any of them. */
  subjects?: string[];
  /** By which trusted issuer's word it is of somebody else. */
  word?: { issuerId: string; epoch: number };
};

/** The scope of broker tokens. */
export const brokerScope = 'hallpass';

/** Parameters that ask for less than a plain token: ignoring one would issue more than was asked for. */
const restrictions = ['claims', 'dpop_jkt', 'req_cnf'];
/** Those that only an exchange knows. */
const exchangeRestrictions = ['audience', 'actor_token'];

/** Those that ask for what the client that has proved itself may have, and one that asks in exchange for a token. */
export const grantTypes: readonly string[] = ['client_credentials', jwtBearerGrant, exchangeGrant];

const scopeToken = /^[!#-[\]-~]{1,128}$/;
const maxScopes = 100;
const longestScope = 4_400;

function checkGrantType(form: Form): void {
  const grantType = form.get('grant_type');
  if (grantType === undefined) {
    throw new BrokerError('invalid-request', { detail: 'grant_type is missing' });
  }
  if (!grantTypes.includes(grantType)) throw new BrokerError('unsupported-grant-type');
}

function refuseRestrictions(form: Form): void {
  const isExchange = form.get('grant_type') === exchangeGrant;
  const unknown = isExchange ? restrictions : [...restrictions, ...exchangeRestrictions];
  const asked = unknown.filter((name) => form.has(name));
  if (asked.length > 0) {
    throw new BrokerError('not-supported', { detail: `cannot be honoured: ${asked.join(', ')}` });
  }
}

/** `scope` as RFC 6749 section 3.3 has it: tokens separated by single spaces. */
function parseScope(text: string): string[] {
  if (text.length > longestScope) {
    throw new BrokerError('invalid-scope', { detail: 'scope is longer than a token can carry' });
  }
  const scopes = text.split(' ');
  if (scopes.length > maxScopes || !scopes.every((scope) => scopeToken.test(scope))) {
    throw new BrokerError('invalid-scope', { detail: 'scope is malformed' });
  }
  return [...new Set(scopes)];
}

/** An exchange may name its resource as `audience` (RFC 8693 section 2.1). */
function targetOf(form: Form): string | undefined {
  const [resource, audience] = [form.get('resource'), form.get('audience')];
  if (resource !== undefined && audience !== undefined && resource !== audience) {
    throw new BrokerError('invalid-target', { detail: 'a token is for one resource: audience is another' });
  }
  return resource ?? audience;
}

function readMayAct(form: Form): string | undefined {
  const mayAct = form.get('may_act');
  if (mayAct === undefined || /^agt_[0-9a-z]{26}$/.test(mayAct)) return mayAct;
  throw new BrokerError('invalid-request', { detail: 'may_act is the id of an agent' });
}

/** What a request says of the token that it asks for. */
export interface TokenTerms {
  resource: string | undefined;
  scopes: string[] | undefined;
  grantId: string | undefined;
  authorizationDetails: Detail[] | undefined;
  mayAct: string | undefined;
}

/** Throws `unsupported-grant-type`, `invalid-request`, `not-supported`, `invalid-scope`, `invalid-authorization-details`. */
export function readTerms(form: Form): TokenTerms {
  checkGrantType(form);
  refuseRestrictions(form);
  const scope = form.get('scope');
  const details = form.get('authorization_details');
  return {
    resource: targetOf(form),
    scopes: scope === undefined ? undefined : parseScope(scope),
    grantId: form.get('grant_id'),
    authorizationDetails: details === undefined ? undefined : readAuthorizationDetails(details),
    mayAct: readMayAct(form),
  };
}

/**
 * Reads a token request (RFC 6749 section 4.4, RFC 7523 section 2.1, RFC 8707, RFC 9396 section 6). Throws
 * `unsupported-grant-type`, `invalid-request`, `not-supported`, `invalid-target` (scope or details without a resource),
 * `invalid-scope`, `invalid-authorization-details`.
 */
export function readTokenRequest(form: Form, issuer: string): TokenRequest {
  const { resource, ...terms } = readTerms(form);
  if (resource !== undefined && resource !== issuer && resource !== `${issuer}/`) {
    return { kind: 'access', resource, ...terms };
  }
  const { scopes, grantId, authorizationDetails, mayAct } = terms;
  if (grantId !== undefined) {
    throw new BrokerError('invalid-request', { detail: 'grant_id needs its resource' });
  }
  if (authorizationDetails !== undefined || mayAct !== undefined) {
    throw new BrokerError('invalid-target', {
      detail: 'authorization_details and may_act need a resource',
    });
  }
  if (resource === undefined && scopes !== undefined) {
    throw new BrokerError('invalid-target', { detail: 'scope needs a resource' });
  }
  if (scopes !== undefined && scopes.join(' ') !== brokerScope) {
    throw new BrokerError('invalid-scope', { detail: `the only scope here is ${brokerScope}` });
  }
  return { kind: 'broker' };
}
