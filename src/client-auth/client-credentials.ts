import type { IncomingMessage } from 'node:http';
import { BrokerError } from '../errors.ts';
import { decodeFormText, type Form } from '../http/form-encoding.ts';
import { headerValues } from '../http/header-values.ts';
import { isCleanText } from '../platform/text.ts';
import { type DpopRequest, readDpopRequest } from './dpop/dpop-request.ts';

export interface SecretCredentials {
  method: 'client_secret_basic' | 'client_secret_post';
  clientId: string;
  secret: string;
}

/** A signed JWT: a client assertion, or a grant that also authenticates its client (RFC 7523 sections 2.1 and 2.2). */
export interface AssertionCredentials {
  method: 'client_assertion';
  /** The parameter that the JWT was in. */
  parameter: 'client_assertion' | GrantAuthentication['parameter'];
  /** The DPoP proofs of the request: the JWT may be bound to a key. */
  dpop: DpopRequest;
  /** The `client_id` parameter of the request. */
  clientId: string | undefined;
  assertion: string;
}

/** The client authentication by a JWT that is also the authorization grant. */
export interface GrantAuthentication {
  /** The parameter that the JWT is in. */
  parameter: 'assertion' | 'subject_token';
  /** Whether other client authentication is forbidden. If not, the JWT authenticates only if there is no other. */
  isRequired: boolean;
}

/** The client authentication of a request, not verified yet. */
export type ClientCredentials = SecretCredentials | AssertionCredentials;

const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

const longest = 1024;

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-request', { detail });
}

/**
 * Parses Basic credentials (RFC 7617), whose two parts are form-encoded (RFC 6749 section 2.3.1). Undefined if they are
 * malformed.
 */
function parseBasic(header: string): { clientId: string; secret: string } | undefined {
  const match = /^Basic +([A-Za-z0-9+/=]+) *$/i.exec(header);
  if (match?.[1] === undefined || match[1].length > longest) return undefined;
  const pair = Buffer.from(match[1], 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  if (colon < 1) return undefined;
  try {
    const clientId = decodeFormText(pair.slice(0, colon));
    const secret = decodeFormText(pair.slice(colon + 1));
    return isCleanText(clientId) && isCleanText(secret) ? { clientId, secret } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Reads the client authentication of a request: client_secret_basic, client_secret_post, a client assertion, or the
 * JWT that is the grant itself (for a grant type with `grant`). The same `client_id` in the body is not a second
 * method (RFC 6749 section 2.3). Throws `invalid-request` for two methods at once, two different clients or an
 * incomplete assertion, and `invalid-client` if there is no known method.
 */
export function readClientCredentials(
  request: IncomingMessage,
  form: Form,
  grant?: GrantAuthentication,
): ClientCredentials {
  const headers = headerValues(request, 'authorization');
  if (headers.length > 1) throw malformed('several Authorization headers');
  const [header] = headers;
  const clientId = form.get('client_id');
  const secret = form.get('client_secret');
  const hasAssertion = form.has('client_assertion') || form.has('client_assertion_type');
  const isGrant = grant?.isRequired === true;
  const methods = [header !== undefined, secret !== undefined, hasAssertion, isGrant];
  if (methods.filter(Boolean).length > 1) throw malformed('more than one method of client authentication');
  if (hasAssertion) return readAssertionCredentials(request, form);
  if (grant !== undefined && (isGrant || !methods.includes(true))) {
    return readGrantAssertion(request, form, grant);
  }
  if (header !== undefined) {
    const basic = parseBasic(header);
    if (basic === undefined) throw new BrokerError('invalid-client');
    if (clientId !== undefined && clientId !== basic.clientId) throw malformed('client_id does not match');
    return { ...basic, method: 'client_secret_basic' };
  }
  if (clientId === undefined || secret === undefined) throw new BrokerError('invalid-client');
  return { clientId, secret, method: 'client_secret_post' };
}

function readGrantAssertion(
  request: IncomingMessage,
  form: Form,
  { parameter }: GrantAuthentication,
): AssertionCredentials {
  const assertion = form.get(parameter);
  if (assertion === undefined) throw malformed(`${parameter} is missing`);
  const dpop = readDpopRequest(request);
  return { method: 'client_assertion', parameter, dpop, clientId: form.get('client_id'), assertion };
}

function readAssertionCredentials(request: IncomingMessage, form: Form): AssertionCredentials {
  const assertion = form.get('client_assertion');
  const type = form.get('client_assertion_type');
  if (assertion === undefined || type === undefined) {
    throw malformed('client_assertion and client_assertion_type must be used together');
  }
  if (type !== assertionType) throw new BrokerError('invalid-client', { internal: 'unknown assertion type' });
  const given = { clientId: form.get('client_id'), dpop: readDpopRequest(request), assertion };
  return { method: 'client_assertion', parameter: 'client_assertion', ...given };
}
