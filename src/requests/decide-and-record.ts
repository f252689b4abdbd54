import type { Agent } from '../agents/agent.ts';
import type { Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, Refusal } from '../errors.ts';
import type { Resource } from '../resources/resource.ts';
import type { RequestsDeps } from './deps.ts';
import { queueRequest } from './limits/store.ts';

/** The inputs of a decision, which is valid as long as none of them has changed. */
export interface DecidedAbout {
  agent: Agent;
  resource: Resource;
  /** The epoch of the policies that decided. */
  policyEpoch: bigint | undefined;
}

export interface Steps<Decided, Permitted extends DecidedAbout> {
  /** Decides, outside of a transaction because it takes time. Returns a grant's id if the same request made it. */
  decide: () => Promise<Decided | string>;
  /** Returns the permitted decision, or a refusal; `tx` commits in both cases. */
  permit: (tx: Tx, decided: Decided) => Promise<Permitted | Refusal>;
  /** Returns the other agents whose requests are queued together with this one. */
  otherAgents: (decided: Permitted) => readonly string[];
  /** Makes the grant and returns its id; undefined if the decision has to be made again. */
  record: (tx: Tx, decided: Permitted) => Promise<string | Refusal | undefined>;
}

const maxAttempts = 3;

/**
 * Decides about a request for a grant, then records the decision in a transaction that finds agent,
 * resource and policies unchanged; if one has changed, it decides again. Returns the id of the
 * grant. Throws the refusals of its steps, and `unavailable` if a change overtook every decision.
 */
export async function decideAndRecord<Decided extends object, Permitted extends DecidedAbout>(
  deps: RequestsDeps,
  { decide, permit, otherAgents, record }: Steps<Decided, Permitted>,
): Promise<string> {
  for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
    const decided = await decide();
    if (typeof decided === 'string') return decided;
    const id = await withTransaction(deps.db, async (tx) => {
      const permitted = await permit(tx, decided);
      if (permitted instanceof Refusal) return permitted;
      await queueRequest(tx, [permitted.agent.id, ...otherAgents(permitted)]);
      return (await isUnchanged(deps, tx, permitted)) ? record(tx, permitted) : undefined;
    });
    if (id !== undefined) return id;
  }
  throw new BrokerError('unavailable', {
    retryAfterSeconds: 1,
    internal: 'each decision about a request was overtaken by a change',
  });
}

/** Whether agent, resource and policies are unchanged. Their rows stay locked until the transaction ends. */
async function isUnchanged(
  { agents, resources, policies }: RequestsDeps,
  tx: Tx,
  { agent, resource, policyEpoch }: DecidedAbout,
): Promise<boolean> {
  const resourceVersion = (await resources.lockShared(tx, resource.id))?.version;
  const agentVersion = (await agents.lockShared(tx, agent.id))?.version;
  if (resourceVersion !== resource.version || agentVersion !== agent.version) return false;
  return (await policies.refresh(tx)) === policyEpoch;
}
