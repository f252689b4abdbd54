import type { Operation } from '../../../chaos-checker/history.ts';
import { createKey } from '../../../support/key-agent.ts';
import type { AgentModel } from '../world.ts';
import type { Player } from './player.ts';
import { probe, probeBelow } from './tokens.ts';

const mostTries = 5;

/** Retries `step` a few times. Returns whether it succeeded. */
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

/**
 * Makes room for a secret: at most two are valid, so one whose issue or revocation had no response is revoked first.
 */
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

/** Issues a new secret before the old one is revoked. */
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

/** Uses another key for each attempt, so that a late request cannot restore a key that was already replaced. */
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

/**
 * Withdraws an agent's credential and gives it another, then introspects at once everything that was issued with the
 * old one.
 */
export async function withdraw(player: Player, picked: AgentModel): Promise<void> {
  const { agents } = player.world;
  const withSecrets = player.lacks('issue-secret')
    ? agents.filter(({ credential }) => credential.key === undefined)
    : [];
  // An agent whose keys may have been replaced by unknown ones can do nothing until it has new ones.
  const agent = agents.find(({ isLockedOut }) => isLockedOut) ?? player.prng.pick(withSecrets) ?? picked;
  const had = [...agent.tokens.slice(-10), ...agent.brokerTokens];
  const replace = agent.credential.key === undefined ? replaceSecret : replaceKey;
  if (!(await replace(player, agent))) return;
  await probe(player, agent, had);
  await probeBelow(player, agent);
}
