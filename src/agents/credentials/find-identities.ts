import { sql } from 'kysely';
import type { Db } from '../../db/database.ts';
import { isCleanText } from '../../platform/text.ts';
import type { Conditions } from '../../trusted-issuers/conditions.ts';

/** An identity that a token may match, because the token has the claim that identifies it. */
export interface IdentityCandidate {
  id: string;
  agentId: string;
  /** The required `sub`; null if any `sub` is accepted. */
  subject: string | null;
  claims: Conditions;
}

export interface CandidateQuery {
  trustedIssuerId: string;
  /** The version of the issuer's row by which the token was verified; there are no candidates under another one. */
  rowVersion: string;
  /** The claims of the token that may identify an agent, as `name=value`. */
  identifyingClaims: readonly string[];
  /** All claims of the token. Identities with another value for one of them are left out. */
  claims: Record<string, unknown>;
}

export type ListQuery = Pick<CandidateQuery, 'trustedIssuerId' | 'identifyingClaims'>;

/** The most candidates that are read. If a token has more, its claims cannot be compared with all of them. */
export const maxCandidates = 1_000;

/** Finds the identities of an issuer that are not revoked and that a token may match, at most `maxCandidates` + 1. */
export async function findIdentities(db: Db, query: CandidateQuery): Promise<IdentityCandidate[]> {
  const { trustedIssuerId, rowVersion, identifyingClaims } = query;
  const scalars = JSON.stringify(toScalars(query.claims));
  const rows = await live(db, trustedIssuerId)
    .where(
      sql<boolean>`md5(identifying_claim) = any(array(select md5(c) from unnest(${identifyingClaims}::text[]) c))`,
    )
    .where(
      sql<boolean>`exists (
        select from trusted_issuers i
         where i.id = agent_secrets.trusted_issuer_id and i.deleted_at is null and i.xmin::text = ${rowVersion})`,
    )
    // Lists and JSON Pointers are left to the caller, which compares all claims again.
    .where(
      sql<boolean>`not exists (
        select from jsonb_each(claims) c
         where jsonb_typeof(c.value) <> 'array' and left(c.key, 1) <> '/'
           and ${scalars}::jsonb -> c.key is distinct from c.value)`,
    )
    .limit(maxCandidates + 1)
    .execute();
  return rows.map(toCandidate);
}

/**
 * Lists the first `maxCandidates` identities of an issuer that are not revoked: first those that `identifyingClaims`
 * identify, then by id.
 */
export async function listIdentities(
  db: Db,
  { trustedIssuerId, identifyingClaims }: ListQuery,
): Promise<IdentityCandidate[]> {
  const rows = await live(db, trustedIssuerId)
    .clearOrderBy()
    .orderBy(sql`identifying_claim = any(${identifyingClaims}::text[])`, 'desc')
    .orderBy('id')
    .limit(maxCandidates)
    .execute();
  return rows.map(toCandidate);
}

function live(db: Db, trustedIssuerId: string) {
  return db
    .selectFrom('agent_secrets')
    .select(['id', 'client_id', 'subject', 'claims'])
    .where('trusted_issuer_id', '=', trustedIssuerId)
    .where('revoked_at', 'is', null)
    .orderBy('id');
}

function toCandidate(row: {
  id: string;
  client_id: string;
  subject: string | null;
  claims: unknown;
}): IdentityCandidate {
  return { id: row.id, agentId: row.client_id, subject: row.subject, claims: row.claims as Conditions };
}

/** Returns the claims that are strings, numbers or booleans, except strings that the database cannot store. */
function toScalars(claims: Record<string, unknown>): Record<string, unknown> {
  const isScalar = (value: unknown): boolean =>
    typeof value === 'number' ||
    typeof value === 'boolean' ||
    (typeof value === 'string' && isCleanText(value));
  return Object.fromEntries(
    Object.entries(claims).filter(([name, value]) => isCleanText(name) && isScalar(value)),
  );
}
