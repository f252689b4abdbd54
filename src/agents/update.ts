import type { Audit } from '../audit/audit.ts';
import type { Act, Person } from '../caller.ts';
import type { Db, Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { Refusal, refuse } from '../errors.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';
import type { Ids } from '../platform/ids.ts';
import { type Agent, comesBack } from './agent.ts';
import { type AgentView, viewAgent } from './agent-view.ts';
import { setCredential } from './credentials/service.ts';
import { endAgentGrants, endDerivedGrants } from './end-grants.ts';
import * as store from './store.ts';
import { type AgentChange, type CheckTermsDeps, checkTerms, describe, normalized, subject } from './terms.ts';

export interface UpdateAgentDeps extends CheckTermsDeps {
  db: Db;
  audit: Audit;
  ids: Ids;
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
}

/**
 * Changes an agent. If it has expired and the change gives it more time, everything that was issued to it before ends.
 * Refusals: `not-found` and those of `checkTerms`.
 */
export async function updateAgent(
  deps: UpdateAgentDeps,
  act: Act<Person>,
  { id, change }: { id: string; change: AgentChange },
): Promise<AgentView> {
  const { db, audit, clock } = deps;
  const updated = await withTransaction(db, async (tx) => {
    const before = await store.lockAgent(tx, id);
    if (before === undefined) return refuse('not-found');
    const checked = await checkTerms(deps, tx, { change, before });
    if (checked instanceof Refusal) return checked;
    const terms = normalized(change);
    const at = clock.now();
    const raiseEpoch = comesBack(before, change.expiresAt, at);
    const agent = await store.updateAgent(tx, { id, change: terms, raiseEpoch, at });
    const details = raiseEpoch ? { ...describe(terms), epoch: agent.epoch } : describe(terms);
    await audit.append(tx, { ...subject(act, id), type: 'agent.updated', details });
    const hasLostCredential =
      checked !== undefined && (await setCredential(deps, tx, { act, agentId: id, checked }));
    await endWithChange(deps, tx, { act, before, agent, hasLostCredential, at });
    return viewAgent(deps, tx, agent);
  });
  await deps.grantEndings.settle();
  return updated;
}

interface Changed {
  act: Act<Person>;
  before: Agent;
  agent: Agent;
  /** Whether the change revoked a credential of the agent. */
  hasLostCredential: boolean;
  at: Date;
}

/**
 * Ends the grants that a change of an agent makes invalid: all of its grants if its epoch was raised, and the grants that were
 * delegated for its tokens if a credential was revoked or if bound tokens are required from now on.
 */
async function endWithChange(deps: UpdateAgentDeps, tx: Tx, changed: Changed): Promise<void> {
  const { act, before, agent, hasLostCredential, at } = changed;
  const cause = { act, agentId: agent.id, at };
  if (agent.epoch !== before.epoch)
    await endAgentGrants(deps, tx, {
      ...cause,
      reason: 'its agent had expired before its expiry was changed',
    });
  if (hasLostCredential)
    await endDerivedGrants(deps, tx, {
      ...cause,
      reason: 'the credential of its subject token was replaced',
    });
  if (agent.requireBoundTokens && !before.requireBoundTokens)
    await endDerivedGrants(deps, tx, {
      ...cause,
      reason: 'the agent of its subject token requires bound tokens, and the subject token was not bound',
    });
}
