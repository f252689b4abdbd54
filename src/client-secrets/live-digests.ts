import { sql } from 'kysely';
import type { ClientKind } from './client-secret.ts';

/** Beside an agent's secrets stand its other credentials, keys or an identity, which have no hash. */
export const secretTables = {
  agent: 'agent_secrets',
  resource: 'resource_secrets',
} as const satisfies Record<ClientKind, string>;

/** What a presented secret is compared with. */
export interface LiveDigest {
  id: string;
  /** SHA-256 of the secret. */
  hash: Buffer;
  expiresAt: Date | null;
}

/** A live digest as `liveDigests` yields it. */
export interface LiveDigestJson {
  id: string;
  hash: string;
  expires_at: string | null;
}

/**
 * A column with the digests of a client's secrets that are alive at `now`, so that a client is read with them in
 * one query. `clientId` is a value, or a reference to a column of the outer query. Read it with `toLiveDigests`.
 */
export function liveDigests(kind: ClientKind, clientId: unknown, now: Date) {
  return sql<LiveDigestJson[]>`(
    select coalesce(json_agg(json_build_object(
             'id', s.id, 'hash', encode(s.secret_hash, 'hex'), 'expires_at', s.expires_at) order by s.id), '[]'::json)
      from ${sql.table(secretTables[kind])} s
     where s.client_id = ${clientId} and s.secret_hash is not null and s.revoked_at is null and (s.expires_at is null or s.expires_at > ${now}))`;
}

export function toLiveDigests(column: LiveDigestJson[]): LiveDigest[] {
  return column.map(({ id, hash, expires_at }) => ({
    id,
    hash: Buffer.from(hash, 'hex'),
    expiresAt: expires_at === null ? null : new Date(expires_at),
  }));
}
