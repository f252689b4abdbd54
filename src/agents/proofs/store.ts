import { sql } from 'kysely';
import type { Db, Tx } from '../../db/database.ts';
import type { JwkSet } from '../../outbound/key-source.ts';
import type { Conditions } from '../../trusted-issuers/conditions.ts';
import type { Identity, Proof } from './proof.ts';

export interface NewProof {
  id: string;
  proof: Proof;
  issuedBy: string;
  createdAt: Date;
}

/** Proofs stand beside the secrets: what a token was got with is one thing, whatever its kind. */
export async function insertProof(tx: Tx, agentId: string, { id, proof, ...made }: NewProof): Promise<void> {
  const { jwks, jwksUri = null, identity } = proof;
  await tx
    .insertInto('agent_secrets')
    .values({
      id,
      client_id: agentId,
      jwks: jwks === undefined ? null : JSON.stringify(jwks),
      jwks_uri: jwksUri,
      trusted_issuer_id: identity?.trustedIssuerId ?? null,
      subject: identity?.subject ?? null,
      claims: identity === undefined ? null : JSON.stringify(identity.claims),
      issued_by: made.issuedBy,
      created_at: made.createdAt,
    })
    .execute();
}

/** What an agent proves itself by, as others may see it. */
export interface ProofSummary {
  jwks: JwkSet | null;
  jwksUri: string | null;
  identity: Identity | null;
  /** When the oldest of its live secrets was issued; null: it has none. */
  oldestSecretAt: Date | null;
}

const nothing: ProofSummary = { jwks: null, jwksUri: null, identity: null, oldestSecretAt: null };

/** What each of these agents proves itself by at `now`. */
export async function summarizeProofs(
  db: Db,
  agentIds: readonly string[],
  now: Date,
): Promise<(agentId: string) => ProofSummary> {
  const rows = await db
    .selectFrom('agent_secrets')
    .select(['client_id', 'jwks', 'jwks_uri', 'trusted_issuer_id', 'subject', 'claims', 'created_at'])
    .select(sql<boolean>`secret_hash is not null`.as('is_secret'))
    .where('client_id', 'in', agentIds.length === 0 ? [''] : agentIds)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .orderBy('created_at', 'desc')
    .execute();
  const summaries = new Map<string, ProofSummary>();
  for (const row of rows) {
    const { trusted_issuer_id: trustedIssuerId, subject, claims } = row;
    const identity =
      trustedIssuerId === null || subject === null
        ? null
        : { trustedIssuerId, subject, claims: claims as unknown as Conditions };
    const proof = { jwks: row.jwks as unknown as JwkSet | null, jwksUri: row.jwks_uri, identity };
    const secret = { ...nothing, oldestSecretAt: row.created_at };
    summaries.set(row.client_id, row.is_secret ? secret : { ...proof, oldestSecretAt: null });
  }
  return (agentId) => summaries.get(agentId) ?? nothing;
}

/** Keys as they are stored: replaced, never changed. */
export type StoredKeys = { id: string } & (
  | { jwks: JwkSet; jwksUri?: undefined }
  | { jwks?: undefined; jwksUri: string }
);

/** A column with the live keys of an agent, so that a client is read with them in one query. */
export function liveKeys(agentId: unknown) {
  return sql<StoredKeys | null>`(
    select json_strip_nulls(json_build_object('id', k.id, 'jwks', k.jwks, 'jwksUri', k.jwks_uri))
      from agent_secrets k
     where k.client_id = ${agentId} and num_nonnulls(k.jwks, k.jwks_uri) = 1 and k.revoked_at is null)`;
}

/** An identity as it is stored, with what its issuer is trusted for. */
export interface StoredIdentity {
  id: string;
  agentId: string;
  claims: Conditions;
  issuer: { audience: string; claims: Conditions; jwks: JwkSet | null; jwksUri: string | null };
}

/** The agent that the issuer's `subject` is; undefined: none is. */
export async function findIdentity(
  db: Db,
  { issuer, subject }: { issuer: string; subject: string },
): Promise<StoredIdentity | undefined> {
  const row = await db
    .selectFrom('agent_secrets as s')
    .innerJoin('trusted_issuers as i', 'i.id', 's.trusted_issuer_id')
    .select([
      's.id',
      's.client_id',
      's.claims',
      'i.audience',
      'i.claims as issuer_claims',
      'i.jwks',
      'i.jwks_uri',
    ])
    .where('i.issuer', '=', issuer)
    .where('i.deleted_at', 'is', null)
    .where('s.subject', '=', subject)
    .where('s.revoked_at', 'is', null)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const { id, client_id: agentId, audience, jwks_uri: jwksUri } = row;
  const [claims, issuerClaims] = [row.claims, row.issuer_claims] as unknown as [Conditions, Conditions];
  const jwks = row.jwks as unknown as JwkSet | null;
  return { id, agentId, claims, issuer: { audience, claims: issuerClaims, jwks, jwksUri } };
}
