import { sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import type { JwkSet } from '../../outbound/key-source.ts';
import type { Conditions } from '../../trusted-issuers/conditions.ts';
import type { CredentialRow, Identity } from './credential.ts';

/** A row of `agent_secrets` that is not revoked; `row` is undefined for a client secret. */
export interface StoredRow {
  id: string;
  row: CredentialRow | undefined;
}

const rowColumns = [
  'id',
  'jwks',
  'jwks_uri',
  'trusted_issuer_id',
  'subject',
  'claims',
  'identifying_claim',
] as const;

interface RowColumns {
  jwks: unknown;
  jwks_uri: string | null;
  trusted_issuer_id: string | null;
  subject: string | null;
  claims: unknown;
  identifying_claim: string | null;
}

function toRow(row: RowColumns): CredentialRow | undefined {
  if (row.jwks !== null) return { jwks: row.jwks as JwkSet };
  if (row.jwks_uri !== null) return { jwksUri: row.jwks_uri };
  const { trusted_issuer_id: trustedIssuerId, identifying_claim: identifyingClaim, subject } = row;
  if (trustedIssuerId === null || identifyingClaim === null) return undefined;
  return { identity: { trustedIssuerId, subject, claims: row.claims as Conditions, identifyingClaim } };
}

/** Lists the credentials of an agent that are not revoked. */
export async function listRows(tx: Tx, agentId: string): Promise<StoredRow[]> {
  const rows = await tx
    .selectFrom('agent_secrets')
    .select(rowColumns)
    .where('client_id', '=', agentId)
    .where('revoked_at', 'is', null)
    .orderBy('id')
    .execute();
  return rows.map((row) => ({ id: row.id, row: toRow(row) }));
}

/**
 * Revokes all credentials of an agent except those in `keep`. Returns the ids of the credentials that this call
 * revoked.
 */
export async function revokeOthers(
  tx: Tx,
  { agentId, keep, at }: { agentId: string; keep: readonly string[]; at: Date },
): Promise<string[]> {
  const rows = await tx
    .updateTable('agent_secrets')
    .set({ revoked_at: at })
    .where('client_id', '=', agentId)
    .where('revoked_at', 'is', null)
    .where(sql<boolean>`id <> all(${keep}::text[])`)
    .returning('id')
    .execute();
  return rows.map((row) => row.id).sort();
}

export interface NewRows {
  rows: { id: string; row: CredentialRow }[];
  issuedBy: string;
  createdAt: Date;
}

/**
 * Inserts credentials into the table of client secrets, so that a token refers to its credential in one way for all
 * kinds.
 */
export async function insertRows(
  tx: Tx,
  agentId: string,
  { rows, issuedBy, createdAt }: NewRows,
): Promise<void> {
  if (rows.length === 0) return;
  const values = rows.map(({ id, row: { jwks, jwksUri = null, identity } }) => ({
    id,
    client_id: agentId,
    jwks: jwks === undefined ? null : JSON.stringify(jwks),
    jwks_uri: jwksUri,
    trusted_issuer_id: identity?.trustedIssuerId ?? null,
    subject: identity?.subject ?? null,
    claims: identity === undefined ? null : JSON.stringify(identity.claims),
    identifying_claim: identity?.identifyingClaim ?? null,
    issued_by: issuedBy,
    created_at: createdAt,
  }));
  await tx.insertInto('agent_secrets').values(values).execute();
}

/** How an agent authenticates, without its secrets. */
export interface CredentialSummary {
  jwks: JwkSet | null;
  jwksUri: string | null;
  identities: Identity[];
  /** When the oldest of its valid client secrets was issued; null if it has none. */
  oldestSecretAt: Date | null;
}

const nothing: CredentialSummary = { jwks: null, jwksUri: null, identities: [], oldestSecretAt: null };

/** Returns how each of these agents authenticates at `now`. */
export async function summarizeCredentials(
  db: Db,
  agentIds: readonly string[],
  now: Date,
): Promise<(agentId: string) => CredentialSummary> {
  const rows = await db
    .selectFrom('agent_secrets')
    .select([...rowColumns, 'client_id', 'created_at'])
    .where('client_id', 'in', agentIds.length === 0 ? [''] : agentIds)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .orderBy('created_at')
    .orderBy('id')
    .execute();
  const summaries = new Map<string, CredentialSummary>();
  for (const row of rows) {
    const before = summaries.get(row.client_id) ?? nothing;
    summaries.set(row.client_id, addRow(before, toRow(row), row.created_at));
  }
  return (agentId) => summaries.get(agentId) ?? nothing;
}

function addRow(
  summary: CredentialSummary,
  row: CredentialRow | undefined,
  createdAt: Date,
): CredentialSummary {
  if (row === undefined) return { ...summary, oldestSecretAt: summary.oldestSecretAt ?? createdAt };
  const { jwks, jwksUri, identity } = row;
  if (jwks !== undefined)
    return { ...summary, jwks: { keys: [...(summary.jwks?.keys ?? []), ...jwks.keys] } };
  if (jwksUri !== undefined) return { ...summary, jwksUri };
  const { identifyingClaim: _, ...rest } = identity;
  return { ...summary, identities: [...summary.identities, rest] };
}

/** A key set or the URL of a key set, as it is stored. The row is replaced and never changed. */
export type StoredKeys = { id: string } & (
  | { jwks: JwkSet; jwksUri?: undefined }
  | { jwks?: undefined; jwksUri: string }
);

/**
 * Builds a column with the valid keys of an agent (null if it has none), so that one query reads a client with its
 * keys.
 */
export function validKeys(agentId: unknown) {
  return sql<StoredKeys[] | null>`(
    select json_agg(json_strip_nulls(json_build_object('id', k.id, 'jwks', k.jwks, 'jwksUri', k.jwks_uri)) order by k.id)
      from agent_secrets k
     where k.client_id = ${agentId} and num_nonnulls(k.jwks, k.jwks_uri) = 1 and k.revoked_at is null)`;
}
