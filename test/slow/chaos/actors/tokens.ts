import { type Performed, showsToken } from '../recorder.ts';
import type { AgentModel, HeldGrant, HeldToken, ResourceModel } from '../world.ts';
import { type Act, keep, type Player, pickGrant } from './player.ts';
import { performAs } from './proving.ts';

const mostTokens = 60;
const grantType = { grant_type: 'client_credentials' };

/** The purpose of a token, and its subject token. */
interface Origin {
  resource?: ResourceModel | undefined;
  subject?: HeldToken;
}

export function hold(
  agent: AgentModel,
  { operation, body }: Performed,
  { resource, subject }: Origin = {},
): void {
  const { token } = operation.answered;
  if (token === undefined) return;
  const chain = subject === undefined ? [] : [...subject.chain, subject.agentId];
  const subjects = subject === undefined ? [] : [...subject.subjects, subject.jti];
  const held: HeldToken = { ...token, raw: body.access_token, resource, chain, subjects, isRefused: false };
  if (resource === undefined) agent.brokerTokens.push(held);
  else keep(agent.tokens, held, mostTokens);
}

export const asksBrokerToken: Act = {
  kind: 'broker-token',
  message: { path: '/oauth2/token', form: grantType },
  asked: {},
  read: showsToken,
};

export async function mintBrokerToken(player: Player, agent: AgentModel): Promise<void> {
  hold(agent, await performAs(player, agent, asksBrokerToken));
}

/** Requests a token under the pinned grant, or under one that the broker chooses. */
export function asksToken({ prng }: Player, grant: HeldGrant, pin: 'pinned' | 'any'): Act {
  const { resource, scopes } = grant.request;
  const asked = prng.some(scopes, prng.between(1, scopes.length));
  const pinned = pin === 'pinned' ? { grant_id: grant.id } : {};
  const form = { ...grantType, resource: resource.identifier, scope: asked.join(' '), ...pinned };
  return {
    kind: pin === 'pinned' ? 'mint-pinned' : 'mint',
    message: { path: '/oauth2/token', form },
    asked: { scopes: asked, ...(pin === 'pinned' ? { grantId: grant.id } : {}) },
    read: showsToken,
  };
}

export async function mint(player: Player, agent: AgentModel, pin: 'pinned' | 'any'): Promise<void> {
  const grant = pickGrant(player, agent, 'active');
  if (grant === undefined) return;
  const { resource } = grant.request;
  hold(agent, await performAs(player, agent, asksToken(player, grant, pin)), { resource });
}

/**
 * Picks a token, mostly of another agent, and more likely one that was itself obtained by exchange: these are few, and
 * long delegation chains need them.
 */
function pickSubject({ prng, world }: Player, agent: AgentModel): HeldToken | undefined {
  const others = world.agents.filter(
    ({ id, lends }) => id !== agent.id && (agent.exchanges === 'any' || lends),
  );
  const holder = agent.exchanges === 'any' && prng.chance(0.2) ? agent : prng.pick(others);
  const known = holder?.tokens.slice(-20) ?? [];
  // Refused and expired tokens are tried again sometimes.
  const isLikely = ({ isRefused, expiresAtMs }: HeldToken) => !isRefused && expiresAtMs > Date.now() + 1_000;
  const tokens = prng.chance(0.1) ? known : known.filter(isLikely);
  const obtainedByExchange = tokens.filter(({ chain }) => chain.length > 0);
  return prng.pick(obtainedByExchange.length > 0 && prng.chance(0.5) ? obtainedByExchange : tokens);
}

/** Exchanges a token for all or some of its scopes. */
export async function exchange(player: Player, agent: AgentModel): Promise<void> {
  const { prng } = player;
  const subject = agent.exchanges === 'none' ? undefined : pickSubject(player, agent);
  if (subject === undefined) return;
  const asked = prng.some(subject.scopes, prng.between(1, subject.scopes.length));
  const performed = await performAs(player, agent, {
    kind: 'exchange',
    message: {
      path: '/oauth2/token',
      form: {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token: subject.raw,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        scope: asked.join(' '),
      },
    },
    asked: { scopes: asked, subjectJti: subject.jti },
    read: showsToken,
  });
  if (performed.operation.status === 400) subject.isRefused = true;
  hold(agent, performed, { resource: subject.resource, subject });
}

/** The client that introspects. */
export type Asker = AgentModel | ResourceModel;

/** Introspects a token on a replica. */
export async function introspect(
  player: Player,
  token: HeldToken,
  asker: Asker,
): Promise<boolean | undefined> {
  const message = { path: '/oauth2/introspect', form: { token: token.raw } };
  const act: Act = {
    kind: 'introspect',
    message,
    asked: { jti: token.jti },
    read: ({ active }) => ({ active }),
  };
  const { operation } = await ('id' in asker
    ? performAs(player, asker, act)
    : player.perform({ ...act, message: { ...message, basic: asker.client } }));
  if (operation.answered.active === false) token.isRefused = true;
  return operation.answered.active;
}

export async function introspectOwn(player: Player, agent: AgentModel): Promise<void> {
  const token = player.prng.pick(player.prng.chance(0.2) ? agent.brokerTokens : agent.tokens);
  if (token !== undefined) await introspect(player, token, agent);
}

/** Introspects as the resource server of the token. */
export async function introspectSome(player: Player): Promise<void> {
  const token = player.prng.pick(player.prng.pick(player.world.agents)?.tokens ?? []);
  if (token?.resource !== undefined) await introspect(player, token, token.resource);
}

/** Introspects at once what was just ended, in addition to random steps. */
export async function probe(player: Player, agent: AgentModel, tokens: readonly HeldToken[]): Promise<void> {
  const asked = player.prng.some(tokens, 3);
  await Promise.all(asked.map((token) => introspect(player, token, token.resource ?? agent)));
}

/**
 * Also introspects at once the tokens that others obtained, directly or indirectly, by exchange of the agent's
 * tokens.
 */
export async function probeBelow(player: Player, agent: AgentModel): Promise<void> {
  const below = player.world.agents.flatMap((holder) =>
    holder.tokens.slice(-20).flatMap((token) => (token.chain.includes(agent.id) ? [{ holder, token }] : [])),
  );
  await Promise.all(
    player.prng
      .some(below.slice(-12), 4)
      .map(({ holder, token }) => introspect(player, token, token.resource ?? holder)),
  );
}

/** Introspects at once the tokens that were obtained, directly or indirectly, by exchange of these tokens. */
export async function probeDerived(player: Player, ended: readonly HeldToken[]): Promise<void> {
  const jtis = new Set(ended.map(({ jti }) => jti));
  const derived = player.world.agents.flatMap((holder) =>
    holder.tokens.flatMap((token) =>
      token.subjects.some((jti) => jtis.has(jti)) ? [{ holder, token }] : [],
    ),
  );
  await Promise.all(
    player.prng
      .some(derived.slice(-8), 3)
      .map(({ holder, token }) => introspect(player, token, token.resource ?? holder)),
  );
}

/**
 * Prefers tokens that others have exchanged, if there are any and a random choice says so, because ending such a token
 * affects more grants.
 */
export function preferExchanged({ prng, world }: Player, tokens: readonly HeldToken[]): readonly HeldToken[] {
  const subjects = new Set(world.agents.flatMap((holder) => holder.tokens.flatMap((one) => one.subjects)));
  const exchanged = tokens.filter(({ jti }) => subjects.has(jti));
  return exchanged.length > 0 && prng.chance(0.5) ? exchanged.slice(-3) : tokens;
}

export const tokensUnder = (agent: AgentModel, grant: Pick<HeldGrant, 'id'>): HeldToken[] =>
  agent.tokens.filter(({ grantId }) => grantId === grant.id);

export async function revokeToken(player: Player, agent: AgentModel): Promise<void> {
  // Broker tokens are chosen rarely, because the agent needs them.
  const token = player.prng.pick(
    player.prng.chance(0.1) ? agent.brokerTokens : preferExchanged(player, agent.tokens.slice(-20)),
  );
  if (token === undefined) return;
  const { operation } = await performAs(player, agent, {
    kind: 'revoke-token',
    message: { path: '/oauth2/revoke', form: { token: token.raw } },
    asked: { jti: token.jti },
  });
  if (operation.outcome !== 'ok') return;
  await probe(player, agent, [token]);
  await probeDerived(player, [token]);
}
