import { type AuditEventType, byAct } from '../audit/audit-event.ts';
import type { Act } from '../caller.ts';
import type { Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { type ErrorCode, refuse } from '../errors.ts';
import type { GrantsDeps } from './deps.ts';
import * as store from './endings/store.ts';
import { effectiveStatus, type GrantStatus } from './grant.ts';
import { lockGrant } from './store.ts';

interface Outcome {
  from: 'pending' | 'scheduled' | 'active';
  to: GrantStatus;
  type: AuditEventType;
}

/** How a grant can be ended by hand: what becomes of it in each state that allows it, and the refusal in others. */
const endings = {
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

export type EndingKind = keyof typeof endings;

/**
 * Ends a grant by hand; what is under it ends with it, because everything that uses it reads its state. An agent ends
 * only its own (`not-found`). A state that does not allow it: `grant-not-pending`, `grant-not-active`.
 */
export async function endGrant(
  deps: GrantsDeps,
  act: Act,
  { kind, id, reason }: { kind: EndingKind; id: string; reason: string | undefined },
): Promise<void> {
  const { outcomes, otherwise } = endings[kind];
  await withTransaction(deps.db, async (tx) => {
    const grant = await lockGrant(tx, id);
    const foreign = act.caller.kind === 'agent' && grant?.agentId !== act.caller.id;
    if (grant === undefined || foreign) return refuse('not-found');
    const at = deps.clock.now();
    const status = effectiveStatus(grant, at);
    const outcome = outcomes.find(({ from }) => from === status);
    if (outcome === undefined) return refuse(otherwise, { detail: `the grant is ${status}` });
    const { from, to, type } = outcome;
    const by = act.caller.id;
    const ended = await store.endGrant(tx, { id, from, to, by, reason: reason ?? null, at });
    if (!ended) return refuse(otherwise);
    const details = reason === undefined ? {} : { reason };
    await deps.audit.append(tx, { ...byAct(act), type, agentId: grant.agentId, grantId: id, details });
    await endHandedDown(deps, tx, { act, at, above: [id] });
    return undefined;
  });
  deps.watch.changed(id);
}

interface Handing {
  act: Act;
  at: Date;
}

/** Ends what was handed down from these grants, with its events. */
async function endHandedDown(
  { audit }: Pick<GrantsDeps, 'audit'>,
  tx: Tx,
  { act, at, above }: Handing & { above: readonly string[] },
): Promise<void> {
  const reason = 'the grant above it ended';
  const ended = await store.endBelow(tx, { ids: above, by: act.caller.id, reason, at });
  await recordEnded({ audit }, tx, { act, ended, reason });
}

/** Ends the grants that were got with a token that is revoked, and what was handed down from them. */
export async function endGrantsGotWith(
  deps: Pick<GrantsDeps, 'audit'>,
  tx: Tx,
  { act, at, jti }: Handing & { jti: string },
): Promise<void> {
  const reason = 'the token that it was got with was revoked';
  const ended = await store.endGotWith(tx, { jti, by: act.caller.id, reason, at });
  if (ended.length === 0) return;
  await recordEnded(deps, tx, { act, ended, reason });
  await endHandedDown(deps, tx, { act, at, above: ended.map(({ id }) => id) });
}

async function recordEnded(
  { audit }: Pick<GrantsDeps, 'audit'>,
  tx: Tx,
  { act, ended, reason }: Pick<Handing, 'act'> & { ended: readonly store.EndedBelow[]; reason: string },
): Promise<void> {
  const by = byAct(act);
  await audit.appendAll(
    tx,
    ended.map(({ id, agentId }) => ({
      ...by,
      type: 'grant.revoked',
      agentId,
      grantId: id,
      details: { reason },
    })),
  );
}
