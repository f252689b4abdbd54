import { BrokerError } from '../errors.ts';
import type { Form } from '../http/form-encoding.ts';

/** Reads the `token` parameter of introspection and revocation. Throws `invalid-request`. */
export function tokenOf(form: Form): string {
  const token = form.get('token');
  if (token === undefined) throw new BrokerError('invalid-request', { detail: 'token is missing' });
  return token;
}
