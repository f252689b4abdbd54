import { byAct } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import type { Tx } from '../db/database.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';

interface Cause {
  act: Act<Person>;
  agentId: string;
  at: Date;
  reason: string;
}

interface EndingDeps {
  grantEndings: Pick<GrantEndings, 'end'>;
}

/** Ends the grants of an agent whose epoch was raised in `tx`. */
export async function endAgentGrants({ grantEndings }: EndingDeps, tx: Tx, cause: Cause): Promise<void> {
  const { act, agentId, at, reason } = cause;
  const selection = { kind: 'agent' as const, agentId };
  await grantEndings.end(tx, { ...byAct(act), objectId: agentId, selection, at, reason });
}

/**
 * Ends the grants delegated for tokens of an agent that ended in `tx`: with their credential, or because they were
 * unbound.
 */
export async function endDerivedGrants({ grantEndings }: EndingDeps, tx: Tx, cause: Cause): Promise<void> {
  const { act, agentId, at, reason } = cause;
  const selection = { kind: 'tokens_of_agent' as const, agentId };
  await grantEndings.end(tx, { ...byAct(act), objectId: agentId, selection, at, reason });
}
