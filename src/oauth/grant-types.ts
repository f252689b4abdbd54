import { BrokerError } from '../errors.ts';
import type { Form } from '../http/form-encoding.ts';
import type { GrantType } from './grant-type.ts';
import { clientCredentials } from './grant-types/client-credentials.ts';
import { jwtBearer } from './grant-types/jwt-bearer.ts';
import { tokenExchange } from './grant-types/token-exchange.ts';

/** Every supported grant type, by its name. */
export const grantTypes: ReadonlyMap<string, GrantType> = new Map(
  [clientCredentials, jwtBearer, tokenExchange].map((type) => [type.name, type]),
);

/** Finds the grant type of a form; undefined if `grant_type` is missing or not supported. */
export function grantTypeOf(form: Form): GrantType | undefined {
  return grantTypes.get(form.get('grant_type') ?? '');
}

/** Finds the grant type of a form. Throws `invalid-request` if `grant_type` is missing, `unsupported-grant-type`. */
export function requireGrantType(form: Form): GrantType {
  const grantType = grantTypeOf(form);
  if (grantType !== undefined) return grantType;
  if (form.has('grant_type')) throw new BrokerError('unsupported-grant-type');
  throw new BrokerError('invalid-request', { detail: 'grant_type is missing' });
}
