import { sql } from 'kysely';
import type { ClientKind } from './client-secret.ts';

/**
 * The table of secrets of each kind of client. The table of agents also has their keys and identities, as rows
 * without a hash.
 */
export const secretTables = {
  agent: 'agent_secrets',
  resource: 'resource_secrets',
} as const satisfies Record<ClientKind, string>;

/** The digest of a valid secret, with which a presented secret is compared. */
export interface SecretDigest {
  id: string;
  /** The SHA-256 digest of the secret. */
  hash: Buffer;
  expiresAt: Date | null;
}

/** A digest in the form in which `validDigests` returns it. */
export interface SecretDigestJson {
  id: string;
  hash: string;
  expires_at: string | null;
}

/**
 * Builds a column with the digests of a client's secrets that are valid at `now`, so that one query reads a client with
 * its secrets. `clientId` is a value, or a reference to a column of the outer query. Parse the column with
 * `toSecretDigests`.
 */
export function validDigests(kind: ClientKind, clientId: unknown, now: Date) {
  return sql<SecretDigestJson[]>`(
    select coalesce(json_agg(json_build_object(
             'id', s.id, 'hash', encode(s.secret_hash, 'hex'), 'expires_at', s.expires_at) order by s.id), '[]'::json)
      from ${sql.table(secretTables[kind])} s
     where s.client_id = ${clientId} and s.secret_hash is not null and s.revoked_at is null and (s.expires_at is null or s.expires_at > ${now}))`;
}

export function toSecretDigests(column: SecretDigestJson[]): SecretDigest[] {
  return column.map(({ id, hash, expires_at }) => ({
    id,
    hash: Buffer.from(hash, 'hex'),
    expiresAt: expires_at === null ? null : new Date(expires_at),
  }));
}
