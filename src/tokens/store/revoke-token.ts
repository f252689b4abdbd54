import type { Tx } from '../../db/database.ts';

/** Revokes a token of the agent. Returns its grant if this call revoked it, else undefined. */
export async function revokeToken(
  tx: Tx,
  token: { jti: string; exp: Date; agentId: string; at: Date },
): Promise<{ grantId: string | null } | undefined> {
  const row = await tx
    .updateTable('tokens')
    .set({ revoked_at: token.at })
    .where('jti', '=', token.jti)
    .where('exp', '=', token.exp)
    .where('agent_id', '=', token.agentId)
    .where('revoked_at', 'is', null)
    .returning('grant_id as grantId')
    .executeTakeFirst();
  return row;
}
