import { scopesByRisk } from '../../../chaos-checker/risks.ts';
import { type Performed, showsGrant } from '../recorder.ts';
import type { AgentModel, GrantRequest, HeldGrant, ResourceModel } from '../world.ts';
import { type Act, keep, type Player, pickGrant, pickStep, type WeightedStep } from './player.ts';
import { performProved, proveByToken, proved } from './proving.ts';
import { replay } from './replay.ts';
import {
  exchange,
  introspectOwn,
  mint,
  mintBrokerToken,
  preferExchanged,
  probe,
  probeDerived,
  revokeToken,
  tokensUnder,
} from './tokens.ts';

/** Calls `/v1` with a broker token: mostly the newest, sometimes one that was refused before. */
export async function callAsAgent(
  player: Player,
  agent: AgentModel,
  act: Act,
): Promise<Performed | undefined> {
  const isOld = player.prng.chance(0.05);
  const token = isOld ? player.prng.pick(agent.deadBrokerTokens) : agent.brokerTokens.at(-1);
  if (token === undefined) {
    if (!isOld) await mintBrokerToken(player, agent);
    return undefined;
  }
  const proof = await proveByToken(agent, act.message, token);
  const performed = await performProved(player, agent, proved(act, proof));
  if (performed.operation.status === 401 && agent.brokerTokens.includes(token)) {
    agent.brokerTokens = agent.brokerTokens.filter((one) => one !== token);
    keep(agent.deadBrokerTokens, token, 10);
  }
  for (const { id, status } of performed.operation.answered.grants ?? []) {
    const known = agent.grants.find((grant) => grant.id === id);
    if (known !== undefined) known.status = status;
  }
  return performed;
}

function draftRequest({ prng, world }: Player, agent: AgentModel): GrantRequest {
  agent.requestCount += 1;
  const { low, medium, high } = scopesByRisk;
  const scopes = prng.weighted<readonly string[]>([
    [6, low],
    [4, [...low, ...medium]],
    [2, [...medium, ...high]],
  ]);
  const [least, most] = prng.weighted<[number, number]>([
    [4, [1, 3]],
    [3, [4, 15]],
    [2, [60, 300]],
  ]);
  return {
    key: `${agent.id}-${agent.requestCount}`,
    resource: prng.pick(world.resources) as ResourceModel,
    scopes: prng.some(scopes, prng.between(1, scopes.length)),
    durationSeconds: prng.between(least, most),
  };
}

async function send(player: Player, agent: AgentModel, request: GrantRequest): Promise<void> {
  const { key, resource, scopes, durationSeconds } = request;
  const terms = { resource: resource.identifier, scopes, duration_seconds: durationSeconds, reason: key };
  const performed = await callAsAgent(player, agent, {
    kind: 'request',
    message: { path: '/v1/grants', json: terms, headers: { 'Idempotency-Key': key } },
    asked: { key, scopes, durationSeconds },
    read: showsGrant,
  });
  for (const { id, status } of performed?.operation.answered.grants ?? [])
    if (agent.grants.every((grant) => grant.id !== id)) keep(agent.grants, { id, request, status });
}

async function request(player: Player, agent: AgentModel, times: number): Promise<void> {
  const drafted = draftRequest(player, agent);
  keep(agent.requests, drafted);
  await Promise.all(Array.from({ length: times }, () => send(player, agent, drafted)));
}

/** Repeats an earlier request, regardless of its result. */
async function requestAgain(player: Player, agent: AgentModel): Promise<void> {
  const earlier = player.prng.pick(agent.requests);
  if (earlier !== undefined) await send(player, agent, earlier);
}

async function read(player: Player, agent: AgentModel, query: string): Promise<void> {
  const grant = pickGrant(player, agent, 'active');
  if (grant === undefined) return;
  await callAsAgent(player, agent, {
    kind: 'read',
    message: { path: `/v1/grants/${grant.id}${query}` },
    asked: { grantId: grant.id },
    read: showsGrant,
  });
}

/** Sometimes chooses a grant with a token that others have exchanged. */
function pickExchanged(player: Player, agent: AgentModel): HeldGrant | undefined {
  const [token] = player.prng.chance(0.5) ? preferExchanged(player, agent.tokens.slice(-20)) : [];
  return agent.grants.find(({ id }) => id === token?.grantId);
}

/** Ends the grant `id`, or a random one. */
async function end(
  player: Player,
  agent: AgentModel,
  { kind, id }: { kind: 'cancel' | 'return'; id?: string },
): Promise<void> {
  const grant =
    agent.grants.find((one) => one.id === id) ??
    (kind === 'return' ? pickExchanged(player, agent) : undefined) ??
    pickGrant(player, agent, kind === 'cancel' ? 'pending' : 'active');
  if (grant === undefined) return;
  const performed = await callAsAgent(player, agent, {
    kind,
    message: { path: `/v1/grants/${grant.id}/${kind}`, json: {} },
    asked: { grantId: grant.id },
    read: showsGrant,
  });
  if (performed?.operation.outcome !== 'ok') return;
  const ended = tokensUnder(agent, grant);
  await probe(player, agent, ended);
  await probeDerived(player, ended);
}

/** Requests a grant and cancels it at once, before approvers can decide about it. */
async function requestInVain(player: Player, agent: AgentModel): Promise<void> {
  await request(player, agent, 1);
  const newest = agent.grants.at(-1);
  if (newest?.status === 'pending') await end(player, agent, { kind: 'cancel', id: newest.id });
}

type Step = (player: Player, agent: AgentModel) => Promise<void>;

const steps: readonly WeightedStep<Step>[] = [
  [2, mintBrokerToken, ['broker-token']],
  [5, (player, agent) => request(player, agent, 1), ['request']],
  [2, (player, agent) => request(player, agent, 3), []],
  [2, requestInVain, ['cancel']],
  [1, requestAgain, []],
  [8, (player, agent) => mint(player, agent, 'any'), ['mint']],
  [6, (player, agent) => mint(player, agent, 'pinned'), ['mint-pinned']],
  [5, exchange, ['exchange']],
  [5, replay, ['replay']],
  [6, introspectOwn, ['introspect']],
  [3, revokeToken, ['revoke-token']],
  [6, (player, agent) => read(player, agent, ''), ['read']],
  [1, (player, agent) => read(player, agent, '?wait=1'), []],
  [3, (player, agent) => end(player, agent, { kind: 'return' }), ['return']],
  [2, (player, agent) => end(player, agent, { kind: 'cancel' }), []],
];

/** Whether the step can have an effect: not every agent exchanges tokens, or has proofs that can be sent twice. */
function hasEffect(step: Step, { exchanges, credential, holding }: AgentModel): boolean {
  if (step === exchange) return exchanges !== 'none';
  if (step === replay) return credential.key !== undefined || holding !== undefined;
  return true;
}

/** Does one of an agent's steps. */
export const actAsAgent: Step = (player, agent) => {
  const open = steps.filter(([, step]) => hasEffect(step, agent));
  return pickStep(player, open)(player, agent);
};
