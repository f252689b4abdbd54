import type { AuthenticatedClient } from '../client-auth/authenticated-client.ts';
import type { TokenReaders } from './active-token.ts';
import { rowKeyOf } from './verified-tokens.ts';

/** The answer to an introspection (RFC 7662 section 2.2). */
export interface Introspection {
  active: boolean;
  [claim: string]: unknown;
}

/**
 * Introspects a token for a client. An agent sees its own tokens, a resource server the tokens for its resource;
 * any other token is inactive for it. Also checks the client's credential: undefined if that is no longer valid.
 */
export async function introspect(
  { tokens, readActivity }: TokenReaders,
  client: AuthenticatedClient,
  token: string,
): Promise<Introspection | undefined> {
  const verified = await tokens.verify(token);
  const found = await readActivity({
    ...rowKeyOf(verified),
    client_kind: client.kind,
    client_id: client.id,
    client_epoch: client.epoch,
    secret_id: client.secretId,
  });
  if (!found.authentic) return undefined;
  const owner = client.kind === 'agent' ? found.agentId : found.resourceId;
  if (verified === undefined || owner === null || owner !== client.id) return { active: false };
  const token_type = verified.claims.cnf === undefined ? 'Bearer' : 'DPoP';
  return { active: true, token_type, ...verified.claims };
}
