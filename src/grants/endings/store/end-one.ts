import type { Tx } from '../../../db/database.ts';
import { storedStatuses } from '../../liveness.ts';
import type { GrantStatus } from '../../states.ts';

export interface EndingByHand {
  id: string;
  /** The effective state the grant must still be in. */
  from: 'pending' | 'scheduled' | 'active';
  to: GrantStatus;
  by: string;
  reason: string | null;
  at: Date;
}

/** Ends a grant by compare-and-set. Returns false if the effective state is no longer `from`. */
export async function endOne(tx: Tx, ending: EndingByHand): Promise<boolean> {
  const result = await tx
    .updateTable('grants')
    .set({ status: ending.to, ended_at: ending.at, ended_by: ending.by, end_reason: ending.reason })
    .where('id', '=', ending.id)
    .where('status', 'in', storedStatuses(ending.from))
    .where(ending.from === 'pending' ? 'lapses_at' : 'expires_at', '>', ending.at)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}
