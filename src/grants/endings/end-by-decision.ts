import type { Audit } from '../../audit/audit.ts';
import { type AuditEventType, byAct } from '../../audit/audit-event.ts';
import type { Act } from '../../caller.ts';
import type { Db } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import { type ErrorCode, refuse } from '../../errors.ts';
import type { Clock } from '../../platform/clock.ts';
import { effectiveStatus } from '../liveness.ts';
import type { GrantStatus } from '../states.ts';
import { lockGrant } from '../store.ts';
import { ancestorEndedReason } from './ending.ts';
import type { GrantEndings } from './endings.ts';
import { endOne } from './store/end-one.ts';

interface Outcome {
  from: 'pending' | 'scheduled' | 'active';
  to: GrantStatus;
  type: AuditEventType;
}

export interface EndByDecisionDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
}

/** The decisions that end one grant: the new status for each status that allows it, and the error for all others. */
const decisions = {
  cancel: {
    outcomes: [
      { from: 'pending', to: 'cancelled', type: 'grant.cancelled' },
      { from: 'scheduled', to: 'cancelled', type: 'grant.cancelled' },
    ],
    otherwise: 'grant-not-pending',
  },
  return: {
    outcomes: [{ from: 'active', to: 'returned', type: 'grant.returned' }],
    otherwise: 'grant-not-active',
  },
  revoke: {
    outcomes: [
      { from: 'pending', to: 'denied', type: 'grant.denied' },
      { from: 'scheduled', to: 'revoked', type: 'grant.revoked' },
      { from: 'active', to: 'revoked', type: 'grant.revoked' },
    ],
    otherwise: 'grant-not-active',
  },
  deny: {
    outcomes: [{ from: 'pending', to: 'denied', type: 'grant.denied' }],
    otherwise: 'grant-not-pending',
  },
} as const satisfies Record<string, { outcomes: readonly Outcome[]; otherwise: ErrorCode }>;

export type GrantAction = keyof typeof decisions;

/**
 * Ends one grant by a decision about it, and every grant delegated from it. Throws `not-found`, also if an agent
 * names another agent's grant; `grant-not-pending` or `grant-not-active` if the status does not allow the decision.
 */
export async function endGrantByDecision(
  { db, audit, clock, grantEndings }: EndByDecisionDeps,
  act: Act,
  { kind, id, reason }: { kind: GrantAction; id: string; reason: string | undefined },
): Promise<void> {
  const { outcomes, otherwise } = decisions[kind];
  await withTransaction(db, async (tx) => {
    const grant = await lockGrant(tx, id);
    const foreign = act.caller.kind === 'agent' && grant?.agentId !== act.caller.id;
    if (grant === undefined || foreign) return refuse('not-found');
    const at = clock.now();
    const status = effectiveStatus(grant, at);
    const outcome = outcomes.find(({ from }) => from === status);
    if (outcome === undefined) return refuse(otherwise, { detail: `the grant is ${status}` });
    const { from, to, type } = outcome;
    const ended = await endOne(tx, { id, from, to, by: act.caller.id, reason: reason ?? null, at });
    if (!ended) return refuse(otherwise);
    const details = reason === undefined ? {} : { reason };
    const by = byAct(act);
    await audit.append(tx, { ...by, type, agentId: grant.agentId, grantId: id, details });
    await grantEndings.end(tx, {
      ...by,
      selection: { kind: 'grant', grantId: id },
      reason: ancestorEndedReason,
      at,
    });
    return undefined;
  });
  await grantEndings.settle();
}
