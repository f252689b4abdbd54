import { sql } from 'kysely';
import type { Detail } from '../../authorization-details/details-type.ts';
import type { Tx } from '../../db/database.ts';

/** Locks these grants and their agents against any ending until the transaction ends; whether all are there. */
export async function lockLine(tx: Tx, ids: readonly string[]): Promise<boolean> {
  const locked = await sql`
    select from grants g join agents a on a.id = g.agent_id
     where g.id = any(${ids}::text[]) order by g.id for share of g, a`.execute(tx);
  return locked.rows.length === ids.length;
}

/** Whether all of these tokens are good; nobody revokes one until the transaction ends. */
export async function lockTokens(tx: Tx, jtis: readonly string[]): Promise<boolean> {
  const locked =
    await sql`select from tokens where jti = any(${jtis}::text[]) order by jti for share`.execute(tx);
  if (locked.rows.length !== jtis.length) return false;
  const { rows } = await sql<{ hold: boolean }>`select subjects_hold(${jtis}::text[]) as hold`.execute(tx);
  return rows[0]?.hold === true;
}

/**
 * What the agent got with this token before: one that a person revoked, whatever its terms, or the active one with the same
 * terms, so that who asks again gets the same.
 */
export async function findSame(
  tx: Tx,
  of: {
    agentId: string;
    agentEpoch: number;
    subjects: string[];
    scopes: string[];
    authorizationDetails: Detail[] | null;
    now: Date;
  },
): Promise<{ id: string; status: string } | undefined> {
  const details = of.authorizationDetails === null ? null : JSON.stringify(of.authorizationDetails);
  const row = await tx
    .selectFrom('grants')
    .select(['id', 'status'])
    .where(
      sql<boolean>`subjects <> '{}' and subjects @> ${of.subjects}::text[] and subjects <@ ${of.subjects}::text[]`,
    )
    .where('agent_id', '=', of.agentId)
    .where(
      sql<boolean>`((status = 'revoked' and starts_with(ended_by, 'adm_'))
        or (status = 'active' and agent_epoch = ${of.agentEpoch} and expires_at > ${of.now} and scopes = ${of.scopes}::text[]
        and authorization_details is not distinct from ${details}::jsonb))`,
    )
    .orderBy(sql`status = 'revoked'`, 'desc')
    .limit(1)
    .executeTakeFirst();
  return row;
}
