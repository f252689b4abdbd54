import { sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import type { JwkSet, KeySource, StoredKeys } from './key-source.ts';

export interface NewKeys {
  id: string;
  source: KeySource;
  issuedBy: string;
  createdAt: Date;
}

/** Keys stand beside the secrets: what a token was got with is one thing, whatever its kind. */
export async function insertKeys(tx: Tx, agentId: string, keys: NewKeys): Promise<void> {
  const { jwks, jwksUri = null } = keys.source;
  await tx
    .insertInto('agent_secrets')
    .values({
      id: keys.id,
      client_id: agentId,
      jwks: jwks === undefined ? null : JSON.stringify(jwks),
      jwks_uri: jwksUri,
      issued_by: keys.issuedBy,
      created_at: keys.createdAt,
    })
    .execute();
}

/** What an agent proves itself by, as others may see it. */
export interface ProofSummary {
  jwks: JwkSet | null;
  jwksUri: string | null;
  /** When the oldest of its live secrets was issued; null: it has none. */
  oldestSecretAt: Date | null;
}

const nothing: ProofSummary = { jwks: null, jwksUri: null, oldestSecretAt: null };

/** What each of these agents proves itself by at `now`. */
export async function summarizeProofs(
  db: Db,
  agentIds: readonly string[],
  now: Date,
): Promise<(agentId: string) => ProofSummary> {
  const rows = await db
    .selectFrom('agent_secrets')
    .select(['client_id', 'jwks', 'jwks_uri', 'created_at'])
    .where('client_id', 'in', agentIds.length === 0 ? [''] : agentIds)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .orderBy('created_at', 'desc')
    .execute();
  const summaries = new Map<string, ProofSummary>();
  for (const { client_id: id, jwks, jwks_uri: jwksUri, created_at: createdAt } of rows) {
    const isSecret = jwks === null && jwksUri === null;
    const keys = { jwks: jwks as unknown as JwkSet | null, jwksUri, oldestSecretAt: null };
    summaries.set(id, isSecret ? { ...nothing, oldestSecretAt: createdAt } : keys);
  }
  return (agentId) => summaries.get(agentId) ?? nothing;
}

/** A column with the live keys of an agent, so that a client is read with them in one query. */
export function liveKeys(agentId: unknown) {
  return sql<StoredKeys | null>`(
    select json_strip_nulls(json_build_object('id', k.id, 'jwks', k.jwks, 'jwksUri', k.jwks_uri))
      from agent_secrets k
     where k.client_id = ${agentId} and k.secret_hash is null and k.revoked_at is null)`;
}
