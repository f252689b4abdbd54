import { jwtBearerGrant } from '../../../../src/oauth/grant-types/jwt-bearer.ts';
import { type Performed, showsGrant } from '../recorder.ts';
import type { AgentModel } from '../world.ts';
import { type Act, keep, type Player, pickGrant } from './player.ts';
import { performProved, prove, proveByToken, proveClientAgain, proved } from './proving.ts';
import { asksBrokerToken, asksToken, hold } from './tokens.ts';

/** Uses the assertion as a grant (RFC 7523 section 2.1): it is the same one-time value. */
function asGrant(act: Act): Act {
  const { client_assertion: assertion, client_assertion_type: _, ...form } = act.message.form ?? {};
  if (assertion === undefined) return act;
  return { ...act, message: { ...act.message, form: { ...form, grant_type: jwtBearerGrant, assertion } } };
}

/** A request with the same one-time values, or some of them. */
interface Replay {
  acts: [Act, Act];
  keep: (performed: Performed) => void;
}

/** Makes a replay of a token request: with the same assertion and proof, or with the same proof and another assertion. */
async function tokenReplay(player: Player, agent: AgentModel): Promise<Replay> {
  const { prng } = player;
  const grant = prng.chance(0.5) ? pickGrant(player, agent, 'active') : undefined;
  const asking = grant === undefined ? asksBrokerToken : asksToken(player, grant, 'any');
  const act: Act = { ...asking, kind: 'replay' };
  const proof = await prove(agent, act.message);
  const sent = proved(act, proof);
  const other = await prng.weighted<() => Act | Promise<Act>>([
    [2, () => sent],
    [1, () => asGrant(sent)],
    [agent.holding === undefined ? 0 : 3, async () => proved(act, await proveClientAgain(agent, proof))],
  ])();
  const origin = { resource: grant?.request.resource };
  return { acts: [sent, other], keep: (performed) => hold(agent, performed, origin) };
}

/** Makes a replay of a request to `/v1`, with the same proof of the key to which the broker token is bound. */
async function apiReplay(player: Player, agent: AgentModel): Promise<Replay | undefined> {
  const token = agent.brokerTokens.at(-1);
  const grant = pickGrant(player, agent, 'active');
  if (token === undefined || grant === undefined) return undefined;
  const act: Act = {
    kind: 'replay',
    message: { path: `/v1/grants/${grant.id}` },
    asked: { grantId: grant.id },
    read: showsGrant,
  };
  const sent = proved(act, await proveByToken(agent, act.message, token));
  return { acts: [sent, sent], keep: () => {} };
}

/** Sends the same one-time values to two replicas at once. */
async function replayAtOnce(player: Player, agent: AgentModel): Promise<void> {
  const isApi = agent.holding !== undefined && player.prng.chance(0.4);
  const made = await (isApi ? apiReplay : tokenReplay)(player, agent);
  if (made === undefined) return;
  const [here, there] = player.prng.some(player.targets, 2);
  const [first, second] = made.acts;
  keep(agent.sent, first, 20);
  const answers = [performProved(player, agent, first, here), performProved(player, agent, second, there)];
  for (const performed of await Promise.all(answers)) made.keep(performed);
}

/** Repeats an earlier request, regardless of its result and of what has failed since. */
async function replayLater(player: Player, agent: AgentModel): Promise<void> {
  const sent = player.prng.pick(agent.sent);
  if (sent !== undefined) await performProved(player, agent, sent);
}

/** Sends one-time values several times. For agents that authenticate with a key or have bound tokens. */
export async function replay(player: Player, agent: AgentModel): Promise<void> {
  await (player.prng.chance(0.3) ? replayLater : replayAtOnce)(player, agent);
}
