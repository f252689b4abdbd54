import type { IncomingMessage } from 'node:http';
import { BrokerError } from '../../errors.ts';
import { headerValues } from '../../http/header-values.ts';
import { isCleanText } from '../../platform/text.ts';
import { decodeFormText, type Form } from '../form.ts';

export interface SecretCredentials {
  method: 'client_secret_basic' | 'client_secret_post';
  clientId: string;
  secret: string;
}

/** A JWT that somebody signed for the client: to authenticate it, or as its grant (RFC 7523 sections 2.1 and 2.2). */
export interface AssertionCredentials {
  method: 'client_assertion';
  /** What the request says beside it. */
  clientId: string | undefined;
  assertion: string;
}

/** What a client says it is, and proves it with. */
export type ClientCredentials = SecretCredentials | AssertionCredentials;

/** The grant of whoever has a token to show (RFC 8693 section 2.1). */
export const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
/** The grant of whoever has nothing but an assertion (RFC 7523 section 2.1). */
export const jwtBearerGrant = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

const longest = 1024;

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-request', { detail });
}

/**
 * The two halves of Basic credentials (RFC 7617), each of which is form-encoded before they are joined (RFC 6749 section
 * 2.3.1); undefined if they are not that.
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
 * The client authentication of a request: client_secret_basic, client_secret_post, a client assertion or, in the JWT bearer
 * grant and in an exchange without any other, what is granted or exchanged, which then proves the client by itself. The same
 * `client_id` in the body is not a second method (RFC 6749 section 2.3). Throws `invalid-request` for two methods at once,
 * two different clients or half an assertion, `invalid-client` if there is none that we know.
 */
export function readClientCredentials(request: IncomingMessage, form: Form): ClientCredentials {
  const headers = headerValues(request, 'authorization');
  if (headers.length > 1) throw malformed('several Authorization headers');
  const [header] = headers;
  const clientId = form.get('client_id');
  const secret = form.get('client_secret');
  const hasAssertion = form.has('client_assertion') || form.has('client_assertion_type');
  const isGrant = form.get('grant_type') === jwtBearerGrant;
  const methods = [header !== undefined, secret !== undefined, hasAssertion, isGrant];
  if (methods.filter(Boolean).length > 1) throw malformed('more than one method of client authentication');
  if (isGrant) return readGrantedAssertion(form, 'assertion');
  if (hasAssertion) return readAssertionCredentials(form);
  if (isExchangeByItself(form, methods)) return readGrantedAssertion(form, 'subject_token');
  if (header !== undefined) {
    const basic = parseBasic(header);
    if (basic === undefined) throw new BrokerError('invalid-client');
    if (clientId !== undefined && clientId !== basic.clientId) throw malformed('client_id is another client');
    return { ...basic, method: 'client_secret_basic' };
  }
  if (clientId === undefined || secret === undefined) throw new BrokerError('invalid-client');
  return { clientId, secret, method: 'client_secret_post' };
}

/** Without any authentication the token that is to be exchanged has to prove the client by itself. */
function isExchangeByItself(form: Form, methods: readonly boolean[]): boolean {
  return form.get('grant_type') === exchangeGrant && !methods.some(Boolean);
}

function readGrantedAssertion(form: Form, name: 'assertion' | 'subject_token'): AssertionCredentials {
  const assertion = form.get(name);
  if (assertion === undefined) throw malformed(`${name} is missing`);
  return { method: 'client_assertion', clientId: form.get('client_id'), assertion };
}

function readAssertionCredentials(form: Form): AssertionCredentials {
  const assertion = form.get('client_assertion');
  const type = form.get('client_assertion_type');
  if (assertion === undefined || type === undefined) {
    throw malformed('client_assertion and client_assertion_type go together');
  }
  if (type !== assertionType) throw new BrokerError('invalid-client', { internal: 'unknown assertion type' });
  return { method: 'client_assertion', clientId: form.get('client_id'), assertion };
}
