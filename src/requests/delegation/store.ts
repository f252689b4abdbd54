import { sql } from 'kysely';
import type { Detail } from '../../authorization-details/details-type.ts';
import type { Tx } from '../../db/database.ts';
import { bindInstants, isActive, isRevokedByPerson } from '../../grants/liveness-sql.ts';

/** Locks these grants and their agents, so that none of them can end before the transaction has ended. Returns whether all exist. */
export async function lockAncestors(tx: Tx, ids: readonly string[]): Promise<boolean> {
  const locked = await sql`
    select from grants g join agents a on a.id = g.agent_id
     where g.id = any(${ids}::text[]) order by g.id for share of g, a`.execute(tx);
  return locked.rows.length === ids.length;
}

/**
 * Locks these tokens, so that none can be revoked before the transaction has ended. Returns whether all exist and none has ended before
 * its expiry.
 */
export async function lockTokens(tx: Tx, jtis: readonly string[]): Promise<boolean> {
  const locked =
    await sql`select from tokens where jti = any(${jtis}::text[]) order by jti for share`.execute(tx);
  if (locked.rows.length !== jtis.length) return false;
  const { rows } = await sql<{ ended: Date | null }>`
    select subject_tokens_ended_at(${jtis}::text[]) as ended`.execute(tx);
  return rows[0]?.ended === null;
}

/** The terms of the delegated grant that an agent requests by an exchange. */
export interface DelegatedTerms {
  agentId: string;
  subjects: string[];
  scopes: string[];
  authorizationDetails: Detail[] | null;
  now: Date;
}

/**
 * Finds a grant that was delegated to the agent earlier for these subject tokens: a grant with any terms that a person has revoked, or
 * else the active one with the same terms, so that a repeated exchange yields the same grant.
 */
export async function findEarlierGrant(
  tx: Tx,
  { agentId, subjects, scopes, authorizationDetails, now }: DelegatedTerms,
): Promise<{ id: string; status: string } | undefined> {
  const details = authorizationDetails === null ? null : JSON.stringify(authorizationDetails);
  const row = await tx
    .selectFrom('grants as g')
    .innerJoin('agents as a', 'a.id', 'g.agent_id')
    .innerJoin('resources as r', 'r.id', 'g.resource_id')
    .select(['g.id', 'g.status'])
    .where(
      sql<boolean>`g.subjects <> '{}' and g.subjects @> ${subjects}::text[] and g.subjects <@ ${subjects}::text[]`,
    )
    .where('g.agent_id', '=', agentId)
    .where(
      sql<boolean>`(${sql.raw(isRevokedByPerson)}
        or (g.scopes = ${scopes}::text[] and g.authorization_details is not distinct from ${details}::jsonb
            and ${bindInstants(isActive, { now })}))`,
    )
    .orderBy(sql`g.status = 'revoked'`, 'desc')
    .limit(1)
    .executeTakeFirst();
  return row;
}
