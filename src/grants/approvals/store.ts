import type { Db, Tx } from '../../db/database.ts';
import type { Approval } from '../grant.ts';

/** Records a person's approval; false if they have given one already. */
export async function insertApproval(
  tx: Tx,
  approval: Approval & { id: string; grantId: string },
): Promise<boolean> {
  const inserted = await tx
    .insertInto('approvals')
    .values({
      id: approval.id,
      grant_id: approval.grantId,
      admin_id: approval.by,
      key_id: approval.keyId,
      key_issued_by: approval.keyIssuedBy,
      request_digest: approval.requestDigest,
      note: approval.note,
      at: approval.at,
    })
    .onConflict((conflict) => conflict.columns(['grant_id', 'admin_id']).doNothing())
    .executeTakeFirst();
  return inserted.numInsertedOrUpdatedRows === 1n;
}

/** The approvals of each grant, oldest first. */
export async function listApprovals(db: Db, grantIds: string[]): Promise<Map<string, Approval[]>> {
  const found = new Map<string, Approval[]>(grantIds.map((id) => [id, []]));
  if (grantIds.length === 0) return found;
  const rows = await db
    .selectFrom('approvals')
    .select(['grant_id', 'admin_id', 'key_id', 'key_issued_by', 'request_digest', 'note', 'at'])
    .where('grant_id', 'in', grantIds)
    .orderBy('id')
    .execute();
  for (const row of rows) {
    found.get(row.grant_id)?.push({
      by: row.admin_id,
      keyId: row.key_id,
      keyIssuedBy: row.key_issued_by,
      requestDigest: row.request_digest,
      note: row.note,
      at: row.at,
    });
  }
  return found;
}
