import { showsGrant, showsGrants } from '../recorder.ts';
import type { AgentModel, PersonModel } from '../world.ts';
import { type Player, pickGrant, pickStep, type WeightedStep } from './player.ts';
import { probe, probeBelow, probeDerived, tokensUnder } from './tokens.ts';
import { withdraw } from './withdrawing.ts';

/** The data of a pending grant that an approver needs. */
interface Pending {
  id: string;
  agent_id: string;
  request_digest: string;
  scopes: string[];
  duration_seconds: number;
}

function narrowing({ prng }: Player, { scopes, duration_seconds }: Pending) {
  const narrower = prng.chance(0.3) ? { scopes: prng.some(scopes, prng.between(1, scopes.length)) } : {};
  const shorter = prng.chance(0.2) ? { duration_seconds: prng.between(1, duration_seconds) } : {};
  return { ...narrower, ...shorter };
}

async function approve(player: Player, person: PersonModel, pending: Pending): Promise<void> {
  const narrowed = narrowing(player, pending);
  const { scopes, duration_seconds: durationSeconds } = narrowed as Partial<Pending>;
  await player.perform({
    kind: 'approve',
    message: {
      path: `/v1/grants/${pending.id}/approve`,
      bearer: person.key,
      json: { request_digest: pending.request_digest, ...narrowed },
    },
    asked: { personId: person.id, grantId: pending.id, scopes, durationSeconds },
    read: showsGrant,
  });
}

async function deny(player: Player, person: PersonModel, { id }: Pending): Promise<void> {
  await player.perform({
    kind: 'deny',
    message: { path: `/v1/grants/${id}/deny`, bearer: person.key, json: { reason: 'no' } },
    asked: { personId: person.id, grantId: id },
    read: showsGrant,
  });
}

/** Lists the pending grants and decides some of them; sometimes sends the same approval twice at once. */
export async function actAsApprover(player: Player, person: PersonModel): Promise<void> {
  const { body } = await player.perform({
    kind: 'list',
    message: { path: '/v1/grants?status=pending&limit=20', bearer: person.key },
    asked: { personId: person.id },
    read: showsGrants,
  });
  const { prng } = player;
  for (const pending of prng.some<Pending>(body?.items ?? [], 3)) {
    if (prng.chance(player.lacks('deny') ? 0.3 : 0.12)) await deny(player, person, pending);
    else if (prng.chance(0.15))
      await Promise.all([approve(player, person, pending), approve(player, person, pending)]);
    else await approve(player, person, pending);
  }
}

async function flip(player: Player, agent: AgentModel, kind: 'disable' | 'enable'): Promise<boolean> {
  const { operation } = await player.perform({
    kind,
    message: { path: `/v1/agents/${agent.id}/${kind}`, bearer: player.world.adminKey, json: {} },
    asked: { agentId: agent.id },
  });
  return operation.outcome === 'ok';
}

/** Disables an agent, introspects its latest tokens at once, and again after it is enabled. */
async function disableForAWhile(player: Player, agent: AgentModel): Promise<void> {
  const held = () => [...agent.tokens.slice(-20), ...agent.brokerTokens];
  if (await flip(player, agent, 'disable')) {
    await probe(player, agent, held());
    await probeBelow(player, agent);
  }
  // The agent is enabled again even if another actor disabled it or the response was lost: an agent that stays
  // disabled does nothing.
  for (let attempt = 1; attempt <= 5 && !(await flip(player, agent, 'enable')); attempt += 1);
  await probe(player, agent, held());
  await probeBelow(player, agent);
}

async function revokeGrant(player: Player, agent: AgentModel): Promise<void> {
  const grant = pickGrant(player, agent, 'active');
  if (grant === undefined) return;
  const { operation } = await player.perform({
    kind: 'revoke-grant',
    message: {
      path: `/v1/grants/${grant.id}/revoke`,
      bearer: player.world.adminKey,
      json: { reason: 'no longer' },
    },
    asked: { grantId: grant.id },
    read: showsGrant,
  });
  if (operation.outcome !== 'ok') return;
  const ended = tokensUnder(agent, grant);
  await probe(player, agent, ended);
  await probeDerived(player, ended);
}

async function readGrant(player: Player, agent: AgentModel): Promise<void> {
  const grant = player.prng.pick(agent.grants);
  if (grant === undefined) return;
  await player.perform({
    kind: 'read',
    message: { path: `/v1/grants/${grant.id}`, bearer: player.world.adminKey },
    asked: { grantId: grant.id },
    read: showsGrant,
  });
}

type Step = (player: Player, agent: AgentModel) => Promise<void>;

const steps: readonly WeightedStep<Step>[] = [
  [2, disableForAWhile, ['disable', 'enable']],
  [2, withdraw, ['issue-secret', 'withdraw']],
  [6, revokeGrant, ['revoke-grant']],
  [12, readGrant, ['read']],
];

/** Picks an agent, more likely one whose tokens others have exchanged, because actions on it affect more grants. */
function pickAgent({ prng, world: { agents } }: Player): AgentModel | undefined {
  const held = new Set(agents.flatMap(({ tokens }) => tokens.slice(-20).flatMap(({ chain }) => chain)));
  const above = agents.filter(({ id }) => held.has(id));
  return prng.pick(above.length > 0 && prng.chance(0.5) ? above : agents);
}

/** Does one of an admin's steps, on a random agent. */
export async function actAsAdmin(player: Player): Promise<void> {
  const agent = pickAgent(player);
  if (agent !== undefined) await pickStep(player, steps)(player, agent);
}
