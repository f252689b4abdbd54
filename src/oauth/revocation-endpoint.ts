import { BrokerError } from '../errors.ts';
import { type ClientRequest, identifyClient } from './client-request.ts';
import type { LimitedEndpoints } from './endpoints.ts';
import { recordRefusal } from './record-refusal.ts';
import { tokenOf } from './token-parameter.ts';

/** Revokes a token of the agent (RFC 7009). Throws `invalid-request`, `invalid-client`, `unauthorized-client`, `unavailable`. */
export async function revokeToken(endpoints: LimitedEndpoints, request: ClientRequest): Promise<undefined> {
  const token = tokenOf(request.form);
  const client = await endpoints.clientsApart.authenticate(request.credentials, { fresh: true });
  if (client.kind !== 'agent') {
    const details = { operation: 'revokeToken', code: 'unauthorized-client' };
    await recordRefusal(endpoints, request, { type: 'access.denied', details });
    throw new BrokerError('unauthorized-client');
  }
  identifyClient(endpoints.limits, request, client.id);
  const caller = { kind: 'agent' as const, id: client.id, authMethod: client.method };
  await endpoints.tokens.revoke({ caller, origin: request.exchange }, token);
}
