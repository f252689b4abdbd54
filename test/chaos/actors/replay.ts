import { jwtBearerGrant } from '../../../src/oauth/clients/client-credentials.ts';
import { type Performed, showsGrant } from '../recorder.ts';
import type { AgentModel } from '../world.ts';
import { type Act, keep, type Player, pickGrant } from './player.ts';
import { performProved, prove, proveByToken, proveClientAnew, proved } from './proving.ts';
import { asksBrokerToken, asksToken, hold } from './tokens.ts';

/** The assertion as the grant by itself (RFC 7523 section 2.1): it is the same one. */
function asGrant(act: Act): Act {
  const { client_assertion: assertion, client_assertion_type: _, ...form } = act.message.form ?? {};
  if (assertion === undefined) return act;
  return { ...act, message: { ...act.message, form: { ...form, grant_type: jwtBearerGrant, assertion } } };
}

/** What has the same proofs, or some of them. */
interface Replay {
  acts: [Act, Act];
  keep: (performed: Performed) => void;
}

/** Of a token request: the same assertion and the same proof, or the same proof with another assertion. */
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
    [agent.holding === undefined ? 0 : 3, async () => proved(act, await proveClientAnew(agent, proof))],
  ])();
  const origin = { resource: grant?.request.resource };
  return { acts: [sent, other], keep: (performed) => hold(agent, performed, origin) };
}

/** Of a request to `/v1`: the same proof of the key that the broker token is bound to. */
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

/** Sends the same proofs to two replicas at once. */
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

/** Sends what was sent before once more, whatever became of it, and whatever has failed since. */
async function replayLater(player: Player, agent: AgentModel): Promise<void> {
  const sent = player.prng.pick(agent.sent);
  if (sent !== undefined) await performProved(player, agent, sent);
}

/** Lets what may be used once be used several times, by those whose proofs have something of the kind. */
export async function replay(player: Player, agent: AgentModel): Promise<void> {
  if (agent.credential.key === undefined && agent.holding === undefined) return;
  await (player.prng.chance(0.3) ? replayLater : replayAtOnce)(player, agent);
}
