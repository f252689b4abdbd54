import { BrokerError } from '../errors.ts';
import type { Introspection } from '../tokens/introspection.ts';
import { type ClientRequest, identifyClient } from './client-request.ts';
import type { LimitedEndpoints } from './endpoints.ts';
import { attempts } from './token-endpoint.ts';
import { tokenOf } from './token-parameter.ts';

/** Introspects a token (RFC 7662 section 2). Throws `invalid-request`, `invalid-client`. */
export async function introspectToken(
  { clients, tokens, limits }: LimitedEndpoints,
  request: ClientRequest,
): Promise<Introspection> {
  const token = tokenOf(request.form);
  for (const attempt of attempts) {
    const client = await clients.authenticate(request.credentials, attempt);
    const introspection = await tokens.introspect(client, token);
    if (introspection === undefined) continue;
    identifyClient(limits, request, client.id);
    return introspection;
  }
  throw new BrokerError('invalid-client');
}
