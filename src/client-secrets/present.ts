import type { ClientSecret } from './client-secret.ts';
import type { IssuedSecret } from './service.ts';

/** Converts a client secret to its representation in the API. */
export function presentSecret(secret: ClientSecret) {
  return {
    id: secret.id,
    issued_by: secret.issuedBy,
    created_at: secret.createdAt.toISOString(),
    expires_at: secret.expiresAt?.toISOString() ?? null,
    revoked_at: secret.revokedAt?.toISOString() ?? null,
  };
}

/** Converts a new client secret to its representation in the API, which contains the secret text only here. */
export function presentIssued(issued: IssuedSecret) {
  return {
    id: issued.id,
    client_secret: issued.clientSecret,
    expires_at: issued.expiresAt?.toISOString() ?? null,
  };
}
