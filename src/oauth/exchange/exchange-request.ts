import { decodeJwt } from 'jose';
import { BrokerError } from '../../errors.ts';
import { exchangeGrant } from '../clients/client-credentials.ts';
import type { Form } from '../form.ts';
import { readTerms, readTokenRequest, type TokenRequest, type TokenTerms } from '../token-request.ts';

/** What a client that has authenticated wants in exchange for a token (RFC 8693 section 2.1). */
export interface ExchangeRequest extends Omit<TokenTerms, 'grantId'> {
  kind: 'exchange';
  subjectToken: string;
  /** Undefined: the client is the actor because it has authenticated. */
  actorToken: string | undefined;
}

const prefix = 'urn:ietf:params:oauth:token-type:';
/** What subject and actor tokens may be called: what they are is read from themselves. */
const tokenTypes: readonly string[] = ['access_token', 'jwt', 'id_token'].map((name) => prefix + name);
/** An access token of ours is a JWT, so it may be asked for as that. */
const issuedTypes: readonly string[] = ['access_token', 'jwt'].map((name) => prefix + name);

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-request', { detail });
}

/** The type of the token that an exchange issues; undefined: the request is for something else. Throws `invalid-request`. */
export function issuedTokenType(form: Form): string | undefined {
  if (form.get('grant_type') !== exchangeGrant) return undefined;
  const { requested_token_type: requested = `${prefix}access_token` } = Object.fromEntries(form);
  if (!issuedTypes.includes(requested)) throw malformed('requested_token_type is not one that is issued');
  assertType(form, 'subject_token');
  if (form.has('actor_token') || form.has('actor_token_type')) assertType(form, 'actor_token');
  return requested;
}

function assertType(form: Form, name: 'subject_token' | 'actor_token'): void {
  const type = form.get(`${name}_type`);
  if (!form.has(name)) throw malformed(`${name} is missing`);
  if (type === undefined) throw malformed(`${name}_type is missing`);
  if (!tokenTypes.includes(type)) throw malformed(`${name}_type is not one that is known`);
}

/** Reads an exchange of a client that has authenticated; its types are good. Throws as `readTerms` does. */
export function readExchange(form: Form): ExchangeRequest {
  const { grantId, ...terms } = readTerms(form);
  if (grantId !== undefined) throw malformed('the grant follows from the token: leave grant_id out');
  const subjectToken = form.get('subject_token') ?? '';
  return { kind: 'exchange', ...terms, subjectToken, actorToken: form.get('actor_token') };
}

/**
 * Reads an exchange of the token that has proved the client itself: it asks for what the client may have, for no longer than
 * the token lasts. Where the token says who may act, somebody has to (RFC 8693 section 4.4): `invalid-subject-token`. Throws
 * as `readTokenRequest` does, too.
 */
export function readOwnExchange(form: Form, issuer: string): TokenRequest {
  const { exp = 0, may_act } = decodeJwt(form.get('subject_token') ?? '');
  if (may_act !== undefined) {
    throw new BrokerError('invalid-subject-token', { detail: 'it says who may act, and nobody does' });
  }
  if (form.has('actor_token'))
    throw malformed('an actor authenticates: subject_token proves nobody but itself');
  return { ...readTokenRequest(form, issuer), notAfter: new Date(Math.floor(exp) * 1000) };
}
