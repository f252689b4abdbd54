import { randomUUID } from 'node:crypto';
import { keyAgentOf, proofOf } from '../../support/key-agent.ts';
import type { Message } from '../exchange.ts';
import type { Asked } from '../history.ts';
import type { Performed } from '../recorder.ts';
import type { AgentModel, HeldToken } from '../world.ts';
import type { Act, Player } from './player.ts';

/** What goes into one request to show who sends it, and what the history is to say of that. */
interface Proof {
  message: Pick<Message, 'basic' | 'bearer' | 'form' | 'headers'>;
  asked: Pick<Asked, 'agentId' | 'by' | 'once'>;
}

const place = { url: '', now: () => new Date() };
const tokenPath = '/oauth2/token';

/** As the client that it is: by its secret, or by an assertion that nobody has seen yet. */
async function proveClient({ id, credential }: AgentModel): Promise<Proof> {
  const asked = { agentId: id, by: { credential: credential.id } };
  const { key } = credential;
  if (key === undefined) return { message: { basic: credential.client }, asked };
  const jti = randomUUID();
  const assertion = await keyAgentOf(place, { id, key }).assert({ claims: { jti } });
  return { message: { form: proofOf(assertion) }, asked: { ...asked, once: [`assertion ${jti} of ${id}`] } };
}

/** As the holder of the key that its tokens are bound to, if they are: nobody has seen the proof yet. */
async function proveHolding(
  { id, holding }: AgentModel,
  { method = 'POST', path }: Message,
  token?: string,
): Promise<Proof> {
  if (holding === undefined) return { message: {}, asked: { agentId: id } };
  const { holder, jkt } = holding;
  const jti = randomUUID();
  const terms = { claims: { jti }, ...(token === undefined ? {} : { token }) };
  const proof = await holder.prove(method, path.split('?')[0] ?? path, terms);
  return { message: { headers: { DPoP: proof } }, asked: { agentId: id, once: [`proof ${jti} of ${jkt}`] } };
}

/** The second says more: of what both say, that counts, but for what may be used once. */
function together(one: Proof, other: Proof): Proof {
  const once = [...(one.asked.once ?? []), ...(other.asked.once ?? [])];
  return {
    message: { ...one.message, ...other.message },
    asked: { ...one.asked, ...other.asked, ...(once.length === 0 ? {} : { once }) },
  };
}

/** As a client; of requests for tokens, also as the holder of the key that these are to be bound to. */
export async function prove(agent: AgentModel, message: Message): Promise<Proof> {
  const client = await proveClient(agent);
  return message.path === tokenPath ? together(client, await proveHolding(agent, message)) : client;
}

/** The same proof of the key, with another of the client. */
export async function proveClientAnew(agent: AgentModel, { message, asked }: Proof): Promise<Proof> {
  const { headers = {} } = message;
  const once = (asked.once ?? []).filter((name) => name.startsWith('proof '));
  return together({ message: { headers }, asked: { once } }, await proveClient(agent));
}

/** On `/v1`: by a broker token. */
export async function proveByToken(agent: AgentModel, message: Message, token: HeldToken): Promise<Proof> {
  const by = { brokerJti: token.jti };
  if (agent.holding === undefined)
    return { message: { bearer: token.raw }, asked: { agentId: agent.id, by } };
  const sent = { method: message.json === undefined ? ('GET' as const) : ('POST' as const), ...message };
  const held = await proveHolding(agent, sent, token.raw);
  const headers = { ...held.message.headers, Authorization: `DPoP ${token.raw}` };
  return { message: { headers }, asked: { ...held.asked, by } };
}

/** The act with the proof. */
export function proved(act: Act, { message, asked }: Proof): Act {
  const form = { ...act.message.form, ...message.form };
  return {
    ...act,
    message: {
      ...act.message,
      ...message,
      ...(act.message.form === undefined ? {} : { form }),
      headers: { ...act.message.headers, ...message.headers },
    },
    asked: { ...act.asked, ...asked },
  };
}

/** Sends what is proved already. */
export async function performProved(
  player: Player,
  agent: AgentModel,
  act: Act,
  target?: Parameters<Player['perform']>[1],
): Promise<Performed> {
  const performed = await player.perform(act, target);
  if (agent.holding !== undefined) agent.holding.holder.nonce = performed.nonce ?? agent.holding.holder.nonce;
  return performed;
}

/** Asks as a client. */
export async function performAs(player: Player, agent: AgentModel, act: Act): Promise<Performed> {
  return performProved(player, agent, proved(act, await prove(agent, act.message)));
}
