import type { Db, Tx } from '../../db/database.ts';
import type { PolicyRef } from '../../grants/facts.ts';
import type { Approval } from '../../grants/grant.ts';

/** Records a person's approval. Returns false if that person has approved already. */
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

/** Lists the approvals of each grant, oldest first. */
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

export interface Decided {
  id: string;
  scopes: string[];
  durationSeconds: number;
  requestDigest: string;
  at: Date;
  /** Present if policy now permits the request: the grant becomes active. */
  activation?: {
    approvals: number;
    approver_groups: string[];
    policies: PolicyRef[];
    startsAt: Date;
    expiresAt: Date;
  };
}

/** Writes the terms after an approval, and `activation` if given. Returns false if the grant is no longer pending. */
export async function decideGrant(tx: Tx, decided: Decided): Promise<boolean> {
  const { activation } = decided;
  const active =
    activation === undefined
      ? {}
      : {
          status: 'active',
          approval_facts: JSON.stringify({
            approvals: activation.approvals,
            approver_groups: activation.approver_groups,
          }),
          decision_policies: JSON.stringify(activation.policies),
          decided_at: decided.at,
          starts_at: activation.startsAt,
          expires_at: activation.expiresAt,
        };
  const result = await tx
    .updateTable('grants')
    .set({
      scopes: decided.scopes,
      duration_seconds: decided.durationSeconds,
      request_digest: decided.requestDigest,
      ...active,
    })
    .where('id', '=', decided.id)
    .where('status', '=', 'pending')
    .where('lapses_at', '>', decided.at)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}
