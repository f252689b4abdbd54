import { createKey } from '../../support/key-agent.ts';
import type { Operation } from '../history.ts';
import type { AgentModel } from '../world.ts';
import type { Player } from './player.ts';
import { probe, probeBelow } from './tokens.ts';

const mostTries = 5;

/** Whether `step` succeeded in the end. What does not is left for the next time. */
async function persistently(step: () => Promise<Operation>): Promise<boolean> {
  for (let attempt = 1; attempt <= mostTries; attempt += 1) if ((await step()).outcome === 'ok') return true;
  return false;
}

function revokeSecret(player: Player, agent: AgentModel, secretId: string): Promise<boolean> {
  return persistently(async () => {
    const { operation } = await player.perform({
      kind: 'withdraw',
      message: {
        method: 'DELETE',
        path: `/v1/agents/${agent.id}/secrets/${secretId}`,
        bearer: player.world.adminKey,
      },
      asked: { agentId: agent.id, credential: secretId },
    });
    return operation;
  });
}

/** Two may be alive: one whose answer was lost, or that nobody could revoke, makes way first. */
async function revokeStrays(player: Player, agent: AgentModel): Promise<void> {
  const { body } = await player.perform({
    kind: 'list',
    message: { path: `/v1/agents/${agent.id}`, bearer: player.world.adminKey },
    asked: { agentId: agent.id },
  });
  const secrets: { id: string; revoked_at: string | null }[] = body?.secrets ?? [];
  for (const { id, revoked_at } of secrets)
    if (revoked_at === null && id !== agent.credential.id) await revokeSecret(player, agent, id);
}

/** The agent has a new secret before its old one is revoked. */
async function replaceSecret(player: Player, agent: AgentModel): Promise<boolean> {
  const { id: old } = agent.credential;
  await revokeStrays(player, agent);
  const { body } = await player.perform({
    kind: 'issue-secret',
    message: { path: `/v1/agents/${agent.id}/secrets`, bearer: player.world.adminKey, json: {} },
    asked: { agentId: agent.id },
  });
  if (body === undefined) return false;
  agent.credential = { id: body.id, client: `${agent.id}:${body.client_secret}` };
  return revokeSecret(player, agent, old);
}

/** Another key at each attempt, so that none that was ever used is brought back by a request that comes late. */
async function replaceKey(player: Player, agent: AgentModel): Promise<boolean> {
  const { id: old } = agent.credential;
  agent.isLockedOut = true;
  return persistently(async () => {
    const key = createKey();
    const { operation } = await player.perform({
      kind: 'withdraw',
      message: {
        method: 'PATCH',
        path: `/v1/agents/${agent.id}`,
        bearer: player.world.adminKey,
        json: { jwks: { keys: [key.jwk] } },
      },
      asked: { agentId: agent.id, credential: old },
    });
    if (operation.outcome === 'ok')
      Object.assign(agent, { credential: { id: key.kid, key }, isLockedOut: false });
    return operation;
  });
}

/** Takes from an agent what it proves itself by and gives it another; what it has got with that is asked about at once. */
export async function withdraw(player: Player, picked: AgentModel): Promise<void> {
  // One whose keys were perhaps replaced by others that it does not have can do nothing until it has new ones.
  const agent = player.world.agents.find(({ isLockedOut }) => isLockedOut) ?? picked;
  const had = [...agent.tokens.slice(-10), ...agent.brokerTokens];
  const replace = agent.credential.key === undefined ? replaceSecret : replaceKey;
  if (!(await replace(player, agent))) return;
  await probe(player, agent, had);
  await probeBelow(player, agent);
}
