import type { Detail } from '../authorization-details/details-type.ts';
import { readAuthorizationDetails } from '../authorization-details/read.ts';
import { BrokerError } from '../errors.ts';
import { jwtBearerGrant } from './client-credentials.ts';
import type { Form } from './form.ts';

/** What a client asks a token for. */
export type TokenRequest =
  | { kind: 'broker' }
  | {
      kind: 'access';
      resource: string;
      /** Undefined: all scopes of the one active grant. Distinct, in the order asked. */
      scopes: string[] | undefined;
      grantId: string | undefined;
      /** Undefined: all that the grant has. */
      authorizationDetails: Detail[] | undefined;
    };

/** The scope of broker tokens. */
export const brokerScope = 'hallpass';

/** Parameters that ask for less than a plain token: ignoring one would issue more than was asked for. */
const restrictions = ['audience', 'claims', 'dpop_jkt', 'req_cnf', 'actor_token'];

/** Both ask for the same: what the client that has proved itself may have. */
export const grantTypes: readonly string[] = ['client_credentials', jwtBearerGrant];

const scopeToken = /^[!#-[\]-~]{1,128}$/;
const maxScopes = 100;

function checkGrantType(form: Form): void {
  const grantType = form.get('grant_type');
  if (grantType === undefined) {
    throw new BrokerError('invalid-request', { detail: 'grant_type is missing' });
  }
  if (!grantTypes.includes(grantType)) throw new BrokerError('unsupported-grant-type');
}

function refuseRestrictions(form: Form): void {
  const asked = restrictions.filter((name) => form.has(name));
  if (asked.length > 0) {
    throw new BrokerError('not-supported', { detail: `cannot be honoured: ${asked.join(', ')}` });
  }
}

/** `scope` as RFC 6749 section 3.3 has it: tokens separated by single spaces. */
function parseScope(text: string): string[] {
  const scopes = text.split(' ');
  if (scopes.length > maxScopes || !scopes.every((scope) => scopeToken.test(scope))) {
    throw new BrokerError('invalid-scope', { detail: 'scope is malformed' });
  }
  return [...new Set(scopes)];
}

/**
 * Reads a token request (RFC 6749 section 4.4, RFC 7523 section 2.1, RFC 8707, RFC 9396 section 6). Throws
 * `unsupported-grant-type`, `invalid-request`, `not-supported`, `invalid-target` (scope or details without a resource),
 * `invalid-scope`, `invalid-authorization-details`.
 */
export function readTokenRequest(form: Form, issuer: string): TokenRequest {
  checkGrantType(form);
  refuseRestrictions(form);
  const resource = form.get('resource');
  const scope = form.get('scope');
  const grantId = form.get('grant_id');
  const details = form.get('authorization_details');
  if (resource === undefined || resource === issuer || resource === `${issuer}/`) {
    if (grantId !== undefined)
      throw new BrokerError('invalid-request', { detail: 'grant_id needs its resource' });
    if (details !== undefined) {
      throw new BrokerError('invalid-target', { detail: 'authorization_details need their resource' });
    }
    if (resource === undefined && scope !== undefined) {
      throw new BrokerError('invalid-target', { detail: 'scope needs a resource' });
    }
    if (scope !== undefined && scope !== brokerScope) {
      throw new BrokerError('invalid-scope', { detail: `the only scope here is ${brokerScope}` });
    }
    return { kind: 'broker' };
  }
  return {
    kind: 'access',
    resource,
    scopes: scope === undefined ? undefined : parseScope(scope),
    grantId,
    authorizationDetails: details === undefined ? undefined : readAuthorizationDetails(details),
  };
}
