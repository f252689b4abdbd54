import type { SecretPrefix } from '../platform/random.ts';

/**
 * The kinds of objects that have client secrets: an agent, or a resource. The client of a resource is its resource server, which may
 * introspect tokens.
 */
export type ClientKind = 'agent' | 'resource';

export interface Client {
  kind: ClientKind;
  /** The id, which is also the `client_id`. */
  id: string;
}

export const secretPrefixes: Record<ClientKind, SecretPrefix> = { agent: 'hps', resource: 'hpr' };

/** A client secret as it is listed, without the secret text. */
export interface ClientSecret {
  id: string;
  issuedBy: string;
  createdAt: Date;
  /** When the secret expires; null if it never expires. */
  expiresAt: Date | null;
  revokedAt: Date | null;
}

/** The most valid secrets of a client: two, so that the client can change to a new secret before the old one is revoked. */
export const maxValidSecrets = 2;

export function isValid(secret: Pick<ClientSecret, 'expiresAt' | 'revokedAt'>, now: Date): boolean {
  return secret.revokedAt === null && endsLater(secret.expiresAt, now);
}

/** Whether `end` is later than `now`. True if `end` is null (no end); false for an invalid date. */
export function endsLater(end: Date | null, now: Date): boolean {
  return end === null || end > now;
}
