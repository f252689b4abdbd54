import { randomUUID } from 'node:crypto';
import type { Asked } from '../../../chaos-checker/history.ts';
import { keyAgentOf, proofOf } from '../../../support/key-agent.ts';
import type { Message } from '../exchange.ts';
import type { Performed } from '../recorder.ts';
import type { AgentModel, HeldToken } from '../world.ts';
import type { Act, Player } from './player.ts';

/** The credentials of one request, and their description for the history. */
interface Proof {
  message: Pick<Message, 'basic' | 'bearer' | 'form' | 'headers'>;
  asked: Pick<Asked, 'agentId' | 'by' | 'once'>;
}

const place = { url: '', now: () => new Date() };
const tokenPath = '/oauth2/token';

/** Authenticates as the client: with its secret, or with a new assertion. */
async function proveClient({ id, credential }: AgentModel): Promise<Proof> {
  const asked = { agentId: id, by: { credential: credential.id } };
  const { key } = credential;
  if (key === undefined) return { message: { basic: credential.client }, asked };
  const jti = randomUUID();
  const assertion = await keyAgentOf(place, { id, key }).assert({ claims: { jti } });
  return { message: { form: proofOf(assertion) }, asked: { ...asked, once: [`assertion ${jti} of ${id}`] } };
}

/** Makes a new DPoP proof if the agent's tokens are bound. */
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

/**
 * Merges two sets of credentials. Members of the second replace those of the first, except one-time values, which are
 * joined.
 */
function together(one: Proof, other: Proof): Proof {
  const once = [...(one.asked.once ?? []), ...(other.asked.once ?? [])];
  return {
    message: { ...one.message, ...other.message },
    asked: { ...one.asked, ...other.asked, ...(once.length === 0 ? {} : { once }) },
  };
}

/** Authenticates as a client, and for token requests also with a proof of the key to which the tokens are bound. */
export async function prove(agent: AgentModel, message: Message): Promise<Proof> {
  const client = await proveClient(agent);
  return message.path === tokenPath ? together(client, await proveHolding(agent, message)) : client;
}

/** Reuses a DPoP proof with another authentication of the client. */
export async function proveClientAgain(agent: AgentModel, { message, asked }: Proof): Promise<Proof> {
  const { headers = {} } = message;
  const once = (asked.once ?? []).filter((name) => name.startsWith('proof '));
  return together({ message: { headers }, asked: { once } }, await proveClient(agent));
}

/** Authenticates on `/v1` with a broker token. */
export async function proveByToken(agent: AgentModel, message: Message, token: HeldToken): Promise<Proof> {
  const by = { brokerJti: token.jti };
  if (agent.holding === undefined)
    return { message: { bearer: token.raw }, asked: { agentId: agent.id, by } };
  const sent = { method: message.json === undefined ? ('GET' as const) : ('POST' as const), ...message };
  const held = await proveHolding(agent, sent, token.raw);
  const headers = { ...held.message.headers, Authorization: `DPoP ${token.raw}` };
  return { message: { headers }, asked: { ...held.asked, by } };
}

/** Returns the act with its credentials. */
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

/** Sends an act that already has its credentials. */
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

/** Sends a request as a client. */
export async function performAs(player: Player, agent: AgentModel, act: Act): Promise<Performed> {
  return performProved(player, agent, proved(act, await prove(agent, act.message)));
}
