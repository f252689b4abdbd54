import type { SecretPrefix } from '../platform/random.ts';

/** What has client secrets: an agent, or a resource (its server is a client that may introspect). */
export type ClientKind = 'agent' | 'resource';

export interface Client {
  kind: ClientKind;
  /** The `client_id`. */
  id: string;
}

export const secretPrefixes: Record<ClientKind, SecretPrefix> = { agent: 'hps', resource: 'hpr' };

/** A client secret without the secret. */
export interface ClientSecret {
  id: string;
  issuedBy: string;
  createdAt: Date;
  /** Null: never. */
  expiresAt: Date | null;
  revokedAt: Date | null;
}

/** Two, so that a client can change to a new one before the old one is revoked. */
export const maxLiveSecrets = 2;

export function isAlive(secret: Pick<ClientSecret, 'expiresAt' | 'revokedAt'>, now: Date): boolean {
  return secret.revokedAt === null && endsLater(secret.expiresAt, now);
}

/** Whether something that ends at `end` (null: never) is still to end at `now`. An invalid date: false. */
export function endsLater(end: Date | null, now: Date): boolean {
  return end === null || end > now;
}
