import type { Tx } from '../../../db/database.ts';
import { storedStatuses } from '../../liveness.ts';
import type { GrantStatus } from '../../states.ts';

export interface DecidedEnd {
  id: string;
  /** The effective state the grant must still be in. */
  from: 'pending' | 'scheduled' | 'active';
  to: GrantStatus;
  by: string;
  reason: string | null;
  at: Date;
}

/** Ends a grant by compare-and-set. Returns false if the effective state is no longer `from`. */
export async function endOne(tx: Tx, end: DecidedEnd): Promise<boolean> {
  const result = await tx
    .updateTable('grants')
    .set({ status: end.to, ended_at: end.at, ended_by: end.by, end_reason: end.reason })
    .where('id', '=', end.id)
    .where('status', 'in', storedStatuses(end.from))
    .where(end.from === 'pending' ? 'lapses_at' : 'expires_at', '>', end.at)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}
