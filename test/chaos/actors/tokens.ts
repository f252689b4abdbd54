import { type Performed, showsToken } from '../recorder.ts';
import type { AgentModel, HeldGrant, HeldToken, ResourceModel } from '../world.ts';
import { keep, type Player, pickGrant } from './player.ts';

const mostTokens = 60;
const grantType = { grant_type: 'client_credentials' };

function hold(agent: AgentModel, { operation, body }: Performed, resource?: ResourceModel): void {
  const { token } = operation.answered;
  if (token === undefined) return;
  const held: HeldToken = { ...token, raw: body.access_token, resource };
  if (resource === undefined) agent.brokerTokens.push(held);
  else keep(agent.tokens, held, mostTokens);
}

export async function mintBrokerToken(player: Player, agent: AgentModel): Promise<void> {
  const performed = await player.perform({
    kind: 'broker-token',
    message: { path: '/oauth2/token', basic: agent.client, form: grantType },
    asked: { agentId: agent.id, by: { secret: true } },
    read: showsToken,
  });
  hold(agent, performed);
}

/** Under whichever grant the broker chooses, or under the one that is pinned. */
export async function mint(player: Player, agent: AgentModel, pin: 'pinned' | 'any'): Promise<void> {
  const grant = pickGrant(player, agent, 'active');
  if (grant === undefined) return;
  const { resource, scopes } = grant.request;
  const asked = player.prng.some(scopes, player.prng.between(1, scopes.length));
  const pinned = pin === 'pinned' ? { grant_id: grant.id } : {};
  const form = { ...grantType, resource: resource.identifier, scope: asked.join(' '), ...pinned };
  const performed = await player.perform({
    kind: pin === 'pinned' ? 'mint-pinned' : 'mint',
    message: { path: '/oauth2/token', basic: agent.client, form },
    asked: {
      agentId: agent.id,
      by: { secret: true },
      scopes: asked,
      ...(pin === 'pinned' ? { grantId: grant.id } : {}),
    },
    read: showsToken,
  });
  hold(agent, performed, resource);
}

/** In exchange for a token of another agent: for all or some of its scopes. */
export async function exchange(player: Player, agent: AgentModel): Promise<void> {
  const { prng, world } = player;
  if (!world.handsOn) return;
  const other = prng.pick(world.agents.filter(({ id }) => id !== agent.id));
  const subject = prng.pick(other?.tokens.slice(-20) ?? []);
  if (subject === undefined) return;
  const asked = prng.some(subject.scopes, prng.between(1, subject.scopes.length));
  const performed = await player.perform({
    kind: 'exchange',
    message: {
      path: '/oauth2/token',
      basic: agent.client,
      form: {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: subject.raw,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        scope: asked.join(' '),
      },
    },
    asked: { agentId: agent.id, by: { secret: true }, scopes: asked, subjectJti: subject.jti },
    read: showsToken,
  });
  hold(agent, performed, subject.resource);
}

type Asker = AgentModel | ResourceModel;

/** Asks a replica whether a token is active. */
export async function introspect(
  player: Player,
  token: HeldToken,
  asker: Asker,
): Promise<boolean | undefined> {
  const by = 'id' in asker ? { agentId: asker.id, by: { secret: true } as const } : {};
  const { operation } = await player.perform({
    kind: 'introspect',
    message: { path: '/oauth2/introspect', basic: asker.client, form: { token: token.raw } },
    asked: { jti: token.jti, ...by },
    read: ({ active }) => ({ active }),
  });
  return operation.answered.active;
}

export async function introspectOwn(player: Player, agent: AgentModel): Promise<void> {
  const token = player.prng.pick(player.prng.chance(0.2) ? agent.brokerTokens : agent.tokens);
  if (token !== undefined) await introspect(player, token, agent);
}

/** As the resource server that the token is for. */
export async function introspectSome(player: Player): Promise<void> {
  const token = player.prng.pick(player.prng.pick(player.world.agents)?.tokens ?? []);
  if (token?.resource !== undefined) await introspect(player, token, token.resource);
}

/** What was ended a moment ago is asked about at once, wherever chance leads. */
export async function probe(player: Player, agent: AgentModel, tokens: readonly HeldToken[]): Promise<void> {
  const asked = player.prng.some(tokens, 3);
  await Promise.all(asked.map((token) => introspect(player, token, token.resource ?? agent)));
}

export const tokensUnder = (agent: AgentModel, grant: Pick<HeldGrant, 'id'>): HeldToken[] =>
  agent.tokens.filter(({ grantId }) => grantId === grant.id);

export async function revokeToken(player: Player, agent: AgentModel): Promise<void> {
  // Seldom a broker token: the agent needs them.
  const token = player.prng.pick(player.prng.chance(0.1) ? agent.brokerTokens : agent.tokens.slice(-20));
  if (token === undefined) return;
  const { operation } = await player.perform({
    kind: 'revoke-token',
    message: { path: '/oauth2/revoke', basic: agent.client, form: { token: token.raw } },
    asked: { agentId: agent.id, by: { secret: true }, jti: token.jti },
  });
  if (operation.outcome === 'ok') await probe(player, agent, [token]);
}
