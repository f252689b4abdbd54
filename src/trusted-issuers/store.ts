import { type Selectable, sql } from 'kysely';
import type { Db, Tx } from '../db/database.ts';
import type { TrustedIssuers } from '../db/schema.gen.ts';
import type { JwkSet } from '../outbound/key-source.ts';
import type { Conditions } from './conditions.ts';
import type { TrustedIssuer, VersionedIssuer } from './trusted-issuer.ts';

const columns = [
  'id',
  'name',
  'issuer',
  'audience',
  'jwks',
  'jwks_uri',
  'claims',
  'tenant_claims',
  'subject_tokens',
  'epoch',
  'created_at',
  'created_by',
  'updated_at',
  'updated_by',
] as const;

function toTrustedIssuer(row: Pick<Selectable<TrustedIssuers>, (typeof columns)[number]>): TrustedIssuer {
  return {
    id: row.id,
    name: row.name,
    issuer: row.issuer,
    audience: row.audience,
    jwks: row.jwks as unknown as JwkSet | null,
    jwksUri: row.jwks_uri,
    claims: row.claims as unknown as Conditions,
    tenantClaims: row.tenant_claims,
    subjectTokens: row.subject_tokens,
    epoch: row.epoch,
    createdAt: row.created_at,
    createdBy: row.created_by,
    updatedAt: row.updated_at,
    updatedBy: row.updated_by,
  };
}

function toTerms(terms: TrustedIssuer) {
  const { name, issuer, audience, jwks, jwksUri, claims, tenantClaims, subjectTokens } = terms;
  return {
    name,
    issuer,
    audience,
    jwks: jwks === null ? null : JSON.stringify(jwks),
    jwks_uri: jwksUri,
    claims: JSON.stringify(claims),
    tenant_claims: tenantClaims,
    subject_tokens: subjectTokens,
  };
}

function living(db: Db) {
  return db.selectFrom('trusted_issuers').select(columns).where('deleted_at', 'is', null);
}

/**
 * Inserts a trusted issuer. Violates `trusted_issuers_one_source` if an issuer with the same `iss`, audience and
 * source of keys is trusted already.
 */
export async function insertTrustedIssuer(tx: Tx, issuer: TrustedIssuer, keySource: string): Promise<void> {
  const { id, createdAt: created_at, createdBy: created_by } = issuer;
  const author = { created_at, created_by, updated_at: created_at, updated_by: created_by };
  await tx
    .insertInto('trusted_issuers')
    .values({ ...toTerms(issuer), ...author, id, key_source: keySource, controllers: [created_by] })
    .execute();
}

export async function findTrustedIssuer(db: Db, id: string): Promise<TrustedIssuer | undefined> {
  const row = await living(db).where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toTrustedIssuer(row);
}

/** Finds the trusted issuers with this `iss`. They differ in their audience or in the source of their keys. */
export async function findByIssuer(db: Db, issuer: string): Promise<VersionedIssuer[]> {
  const rows = await living(db)
    .select(sql<string>`xmin::text`.as('row_version'))
    .where('issuer', '=', issuer)
    .orderBy('id')
    .execute();
  return rows.map((row) => ({ ...toTrustedIssuer(row), rowVersion: row.row_version }));
}

/** Returns the issuer, with its row locked until the transaction ends. */
export async function lockTrustedIssuer(tx: Tx, id: string): Promise<TrustedIssuer | undefined> {
  const row = await living(tx).where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : toTrustedIssuer(row);
}

/** Returns the issuer, locked against changes until the transaction ends. */
export async function lockTrust(tx: Tx, id: string): Promise<TrustedIssuer | undefined> {
  const row = await living(tx).where('id', '=', id).forShare().executeTakeFirst();
  return row === undefined ? undefined : toTrustedIssuer(row);
}

export async function listTrustedIssuers(
  db: Db,
  page: { limit: number; after?: string | undefined },
): Promise<TrustedIssuer[]> {
  let query = living(db).orderBy('id').limit(page.limit);
  if (page.after !== undefined) query = query.where('id', '>', page.after);
  return (await query.execute()).map(toTrustedIssuer);
}

/** Updates a trusted issuer. Violates `trusted_issuers_one_source` as an insertion does. */
export async function updateTrustedIssuer(tx: Tx, issuer: TrustedIssuer, keySource: string): Promise<void> {
  const { id, updatedAt: updated_at, updatedBy: updated_by } = issuer;
  await tx
    .updateTable('trusted_issuers')
    .set({
      ...toTerms(issuer),
      key_source: keySource,
      epoch: issuer.epoch,
      updated_at,
      updated_by,
      controllers: withController(updated_by),
    })
    .where('id', '=', id)
    .execute();
}

function withController(adminId: string) {
  return sql<
    string[]
  >`case when ${adminId} = any(controllers) then controllers else controllers || ${adminId}::text end`;
}

export async function deleteTrustedIssuer(tx: Tx, { id, at }: { id: string; at: Date }): Promise<void> {
  await tx.updateTable('trusted_issuers').set({ deleted_at: at }).where('id', '=', id).execute();
}

/**
 * Withdraws `subject_tokens` from every issuer, which ends what was obtained with their tokens. Returns the number of
 * issuers that had it.
 */
export async function distrustEverySubject(tx: Tx, { at, by }: { at: Date; by: string }): Promise<number> {
  const result = await tx
    .updateTable('trusted_issuers')
    .set((eb) => ({ subject_tokens: false, epoch: eb('epoch', '+', 1), updated_at: at, updated_by: by }))
    .where('subject_tokens', '=', true)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}

/** An identity of an agent that was revoked. `next` is the id of the identity that replaced it. */
export interface RevokedIdentity {
  id: string;
  clientId: string;
  next?: string;
}

const identityColumns = [
  'id',
  'client_id',
  'trusted_issuer_id',
  'subject',
  'claims',
  'identifying_claim',
  'issued_by',
] as const;

function revokeIdentities(tx: Tx, trustedIssuerId: string, at: Date) {
  return tx
    .updateTable('agent_secrets')
    .set({ revoked_at: at })
    .where('trusted_issuer_id', '=', trustedIssuerId)
    .where('revoked_at', 'is', null)
    .returning(identityColumns)
    .execute();
}

/** Revokes the identities of an issuer's agents. */
export async function revokeIdentitiesOf(
  tx: Tx,
  trustedIssuerId: string,
  at: Date,
): Promise<RevokedIdentity[]> {
  const rows = await revokeIdentities(tx, trustedIssuerId, at);
  return rows.map(({ id, client_id: clientId }) => ({ id, clientId }));
}

const insertRows = 1_000;

/**
 * Replaces the identities of an issuer's agents by new ones that differ only in their ids: what was obtained with
 * the old ones ends.
 */
export async function renewIdentitiesOf(
  tx: Tx,
  { trustedIssuerId, at, nextId }: { trustedIssuerId: string; at: Date; nextId: () => string },
): Promise<RevokedIdentity[]> {
  const rows = await revokeIdentities(tx, trustedIssuerId, at);
  const renewed = rows.map((row) => ({ ...row, before: row.id, id: nextId() }));
  for (let from = 0; from < renewed.length; from += insertRows) {
    const values = renewed.slice(from, from + insertRows).map(({ before: _, claims, ...row }) => ({
      ...row,
      claims: JSON.stringify(claims),
      created_at: at,
    }));
    await tx.insertInto('agent_secrets').values(values).execute();
  }
  return renewed.map(({ before, client_id: clientId, id }) => ({ id: before, clientId, next: id }));
}
