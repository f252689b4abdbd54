import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import { type Agent, type AgentStatus, agentStatus } from './agent.ts';
import { type CredentialSummary, summarizeCredentials } from './credentials/store.ts';

/** An agent with its current status and its client authentication. */
export type AgentView = Agent & CredentialSummary & { status: AgentStatus };

/** Adds its current status and its client authentication to each agent, in the same order. */
export async function viewAgents(
  { clock }: { clock: Clock },
  db: Db,
  agents: readonly Agent[],
): Promise<AgentView[]> {
  const now = clock.now();
  const ids = agents.map(({ id }) => id);
  const credentialOf = await summarizeCredentials(db, ids, now);
  return agents.map((agent) => ({ ...agent, ...credentialOf(agent.id), status: agentStatus(agent, now) }));
}

/** Does the same as `viewAgents` for one agent. */
export async function viewAgent(deps: { clock: Clock }, db: Db, agent: Agent): Promise<AgentView> {
  const [view] = await viewAgents(deps, db, [agent]);
  if (view === undefined) throw new Error('viewAgents did not return the agent');
  return view;
}
