import { sql } from 'kysely';
import type { Tx } from '../../db/database.ts';
import { type GrantStatus, storedStatuses } from '../grant.ts';

export interface Ending {
  id: string;
  /** The effective state the grant must still be in. */
  from: 'pending' | 'scheduled' | 'active';
  to: GrantStatus;
  by: string;
  reason: string | null;
  at: Date;
}

/** Ends a grant by compare-and-set; false if it is not in `from` any more. */
export async function endGrant(tx: Tx, ending: Ending): Promise<boolean> {
  const result = await tx
    .updateTable('grants')
    .set({ status: ending.to, ended_at: ending.at, ended_by: ending.by, end_reason: ending.reason })
    .where('id', '=', ending.id)
    .where('status', 'in', storedStatuses(ending.from))
    .where(ending.from === 'pending' ? 'lapses_at' : 'expires_at', '>', ending.at)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/** A grant that was ended because of another. */
export interface EndedBelow {
  id: string;
  agentId: string;
}

/**
 * Ends what was handed down from any of these grants, however far, and answers it. They were inactive already when the grant
 * above them ended; this writes it down.
 */
export async function endBelow(
  tx: Tx,
  { ids, by, reason, at }: Pick<Ending, 'by' | 'at'> & { ids: readonly string[]; reason: string },
): Promise<EndedBelow[]> {
  const result = await sql<EndedBelow>`
    update grants g
       set status = 'revoked', ended_at = ${at}, ended_by = ${by}, end_reason = ${reason}
     where g.ancestors <> '{}' and g.ancestors && ${ids}::text[] and g.status in ('pending', 'scheduled', 'active')
       and g.expires_at > ${at}
    returning g.id, g.agent_id as "agentId"`.execute(tx);
  return result.rows;
}

/** Ends the grants that were got with a token, and answers them. */
export async function endGotWith(
  tx: Tx,
  { jti, by, reason, at }: Pick<Ending, 'by' | 'at'> & { jti: string; reason: string },
): Promise<EndedBelow[]> {
  const result = await sql<EndedBelow>`
    update grants g
       set status = 'revoked', ended_at = ${at}, ended_by = ${by}, end_reason = ${reason}
     where g.subjects <> '{}' and g.subjects @> array[${jti}::text] and g.status in ('pending', 'scheduled', 'active') and g.expires_at > ${at}
    returning g.id, g.agent_id as "agentId"`.execute(tx);
  return result.rows;
}
