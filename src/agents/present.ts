import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import { type Agent, type AgentStatus, agentStatus } from './agent.ts';
import { type CredentialSummary, summarizeCredentials } from './credentials/store.ts';

/** An agent with its current status and its client authentication. */
export type AgentNow = Agent & CredentialSummary & { status: AgentStatus };

/** Adds its current status and its client authentication to each agent, in the same order. */
export async function atPresent(
  { clock }: { clock: Clock },
  db: Db,
  agents: readonly Agent[],
): Promise<AgentNow[]> {
  const now = clock.now();
  const ids = agents.map(({ id }) => id);
  const credentialOf = await summarizeCredentials(db, ids, now);
  return agents.map((agent) => ({ ...agent, ...credentialOf(agent.id), status: agentStatus(agent, now) }));
}

/** Does the same as `atPresent` for one agent. */
export async function oneAtPresent(deps: { clock: Clock }, db: Db, agent: Agent): Promise<AgentNow> {
  const [present] = await atPresent(deps, db, [agent]);
  if (present === undefined) throw new Error('atPresent did not return the agent');
  return present;
}
