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

/** Whether a token is not revoked; nobody revokes it until the transaction ends. */
export async function lockToken(tx: Tx, { jti, exp }: { jti: string; exp: Date }): Promise<boolean> {
  const row = await tx
    .selectFrom('tokens')
    .select('revoked_at')
    .where('jti', '=', jti)
    .where('exp', '=', exp)
    .forShare()
    .executeTakeFirst();
  return row !== undefined && row.revoked_at === null;
}

/** The active grant of the agent with the same terms that was got with this token: who asks again gets the same. */
export async function findSame(
  tx: Tx,
  of: {
    agentId: string;
    subjectJti: string;
    scopes: string[];
    authorizationDetails: Detail[] | null;
    now: Date;
  },
): Promise<string | undefined> {
  const details = of.authorizationDetails === null ? null : JSON.stringify(of.authorizationDetails);
  const row = await tx
    .selectFrom('grants')
    .select('id')
    .where('subject_jti', '=', of.subjectJti)
    .where('agent_id', '=', of.agentId)
    .where('status', '=', 'active')
    .where('expires_at', '>', of.now)
    .where(sql<boolean>`scopes = ${of.scopes}::text[]`)
    .where(sql<boolean>`authorization_details is not distinct from ${details}::jsonb`)
    .executeTakeFirst();
  return row?.id;
}
