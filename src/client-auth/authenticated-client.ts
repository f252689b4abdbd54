import type { SecretCredentials } from './client-credentials.ts';
import type { ClientKind, ClientRecord } from './client-records.ts';

/** The client authentication method (RFC 7591 section 2), which policies see. */
export type AuthMethod = SecretCredentials['method'] | 'private_key_jwt' | 'federated_jwt';

/** A client that has authenticated. */
export interface AuthenticatedClient {
  kind: ClientKind;
  id: string;
  epoch: number;
  /** When the agent expires, or the token of a trusted issuer that authenticated it; null: neither does. */
  expiresAt: Date | null;
  /** The id of the secret, keys or identity that it authenticated with. */
  secretId: string;
  method: AuthMethod;
  /** Whether its tokens must be bound to a key. */
  requireBoundTokens: boolean;
  /** Whether a token request that no grant covers creates a request for a grant. */
  grantsOnDemand: boolean;
}

interface Authentication extends Pick<AuthenticatedClient, 'kind' | 'id' | 'secretId' | 'method'> {
  /** When the token of a trusted issuer expires that authenticated the client: no token that it gets lasts longer. */
  endsAt?: Date;
}

export function describeClient(
  { epoch, expiresAt = null, requireBoundTokens = false, grantsOnDemand = false }: ClientRecord,
  { kind, id, secretId, method, endsAt }: Authentication,
): AuthenticatedClient {
  const isEarlier = endsAt !== undefined && (expiresAt === null || endsAt < expiresAt);
  const end = isEarlier ? endsAt : expiresAt;
  return { kind, id, epoch, expiresAt: end, secretId, method, requireBoundTokens, grantsOnDemand };
}
