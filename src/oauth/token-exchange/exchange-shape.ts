import { BrokerError } from '../../errors.ts';
import type { Form } from '../../http/form-encoding.ts';
import type { ShapeCheck } from '../shape.ts';

const prefix = 'urn:ietf:params:oauth:token-type:';
/** The accepted types of subject and actor tokens. The actual kind of a token is read from the token itself. */
const tokenTypes: readonly string[] = ['access_token', 'jwt', 'id_token'].map((name) => prefix + name);
/** The types of issued tokens: access tokens, which are JWTs. */
const issuedTypes: readonly string[] = ['access_token', 'jwt'].map((name) => prefix + name);

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-request', { detail });
}

function assertType(form: Form, name: 'subject_token' | 'actor_token'): void {
  const type = form.get(`${name}_type`);
  if (!form.has(name)) throw malformed(`${name} is missing`);
  if (type === undefined) throw malformed(`${name}_type is missing`);
  if (!tokenTypes.includes(type)) throw malformed(`${name}_type is not supported`);
}

/** Reads the types of the tokens of an exchange (RFC 8693 section 2.1). Throws `invalid-request`. */
export const readTokenTypes: ShapeCheck = (form, parameters) => {
  const requested = form.get('requested_token_type') ?? `${prefix}access_token`;
  if (!issuedTypes.includes(requested)) throw malformed('requested_token_type is not supported');
  assertType(form, 'subject_token');
  if (form.has('actor_token') || form.has('actor_token_type')) assertType(form, 'actor_token');
  parameters.issuedTokenType = requested;
};

/** Refuses `grant_id`, because the subject token decides the grant. Throws `invalid-request`. */
export const refuseGrantId: ShapeCheck = (form) => {
  if (form.has('grant_id')) throw malformed('grant_id is not allowed: the token determines the grant');
};

/** Refuses an actor token beside a subject token that authenticates the client. Throws `invalid-request`. */
export const refuseActorToken: ShapeCheck = (form) => {
  if (form.has('actor_token')) {
    throw malformed('actor_token needs a client authentication other than subject_token');
  }
};
