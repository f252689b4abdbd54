import type { Audit } from '../audit/audit.ts';
import { byAct } from '../audit/audit-event.ts';
import type { Act, WorkloadAgent } from '../caller.ts';
import type { Db } from '../db/database.ts';
import { isOutage } from '../db/sqlstate.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError } from '../errors.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';
import type { Clock } from '../platform/clock.ts';
import { revokeToken } from './store/revoke-token.ts';
import type { VerifiedTokens } from './verified-tokens.ts';

export interface RevocationDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  tokens: VerifiedTokens;
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
}

/**
 * Revokes a token of the calling agent and ignores any other text (RFC 7009 section 2.2).
 * Throws `unavailable` if the write fails, so that the client retries (section 2.2.1).
 */
export async function revoke(deps: RevocationDeps, act: Act<WorkloadAgent>, text: string): Promise<void> {
  const verified = await deps.tokens.verify(text);
  if (verified === undefined) return;
  const { jti, exp } = verified.claims;
  await recordRevocation(deps, act, { jti, exp: new Date(exp * 1000) }).catch((error: unknown) => {
    if (error instanceof BrokerError || isOutage(error)) throw error;
    throw new BrokerError('unavailable', { cause: error, retryAfterSeconds: 1 });
  });
}

/** Revokes the token and ends the grants that were delegated for it. */
async function recordRevocation(
  { db, audit, clock, grantEndings }: RevocationDeps,
  act: Act<WorkloadAgent>,
  { jti, exp }: { jti: string; exp: Date },
): Promise<void> {
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    const agentId = act.caller.id;
    const revoked = await revokeToken(tx, { jti, exp, agentId, at });
    if (revoked === undefined) return;
    const about = { agentId, grantId: revoked.grantId, objectId: jti };
    await audit.append(tx, { ...byAct(act), type: 'token.revoked', ...about });
    if (revoked.grantId === null) return;
    const reason = 'its subject token was revoked';
    const selection = { kind: 'subject_token' as const, jti };
    await grantEndings.end(tx, { ...byAct(act), objectId: jti, selection, at, reason });
  });
  await grantEndings.settle();
}
