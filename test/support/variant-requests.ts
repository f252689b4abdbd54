import { exchangeGrant, jwtBearerGrant } from '../../src/oauth/clients/client-credentials.ts';
import { asBootstrap, createAgent, grantRequest, type TestAgent } from './broker.ts';
import { createReadyHolder } from './dpop.ts';
import type { FakeClock } from './fake-clock.ts';
import { createFederatedAgent } from './federated-agent.ts';
import type { WireRequest } from './http.ts';
import { createKey, createKeyAgent, proofOf, type TestKey } from './key-agent.ts';
import { byAdmin, byClient, byForm, type World } from './valid-requests.ts';

/** A request that changes something: not the first form of its operation that comes to mind. */
export interface Variant {
  /** The same request each time, but for what it uses up. */
  request: () => Promise<WireRequest>;
  /** How many values are used up each time, whatever becomes of the request. */
  uses?: number;
  /** Of which tables rows are written before the last event, and kept whatever becomes of it: of a grant, without its token. */
  keeps?: readonly string[];
}

export interface VariantWorld extends World {
  clock: FakeClock;
}

type Arrange = (world: VariantWorld) => Promise<Variant>;

const tokenPath = '/oauth2/token';
const accessToken = 'urn:ietf:params:oauth:token-type:access_token';
const ofGrant = ['audit_events', 'audit_events', 'grants'];
const brokerToken = { grant_type: 'client_credentials' };
const always = (wire: WireRequest): Variant => ({ request: async () => wire });
const placeOf = ({ broker, clock }: VariantWorld) => ({ url: broker.url, now: () => clock.now() });
const jwksOf = ({ jwk }: TestKey) => ({ jwks: { keys: [jwk] } });

const withProof = (wire: WireRequest, proof: string): WireRequest => ({
  ...wire,
  headers: { ...wire.headers, DPoP: proof },
});

/** An exchange of `token`: by a client, or by nobody but the token. */
function exchangeOf(token: string, client?: TestAgent, more: Record<string, string> = {}): WireRequest {
  const subject = { subject_token: token, subject_token_type: accessToken };
  const fields = { grant_type: exchangeGrant, ...subject, ...more };
  return client === undefined ? byForm(tokenPath, fields) : byClient(client, tokenPath, fields);
}

/** A new agent with a grant, and a token under it. */
async function createHolding({ broker, resource }: World): Promise<{ agent: TestAgent; token: string }> {
  const agent = await createAgent(broker);
  const api = await agent.api();
  await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
  const { body } = await agent.token({ resource: resource.identifier }).expect(200);
  return { agent, token: body.access_token };
}

/** What a new agent gets in exchange for `token`. */
async function handDown(world: World, token: string): Promise<string> {
  const { path, headers, body } = exchangeOf(token, await createAgent(world.broker));
  const answer = await fetch(`${world.broker.url}${path}`, {
    method: 'POST',
    headers: headers as Record<string, string>,
    body: body as string,
  });
  const got = (await answer.json()) as { access_token?: string };
  if (got.access_token === undefined) throw new Error(JSON.stringify(got));
  return got.access_token;
}

/** As `createHolding`, and what two others have in exchange for that token, one from the other. */
async function createLine(world: World): Promise<{ agent: TestAgent; token: string }> {
  const held = await createHolding(world);
  await handDown(world, await handDown(world, held.token));
  return held;
}

/** An issuer that is trusted: an agent is its subject, and a grant was handed down for a person whom it speaks of. */
async function createBelieved(world: VariantWorld): Promise<string> {
  const { issuerId, say } = await createFederatedAgent(placeOf(world));
  const { agent } = await createHolding(world);
  const form = { resource: world.resource.identifier, scope: 'read' };
  const exchange = { grant_type: exchangeGrant, subject_token: await say('alice') };
  const { body } = await agent.token({ ...form, ...exchange, subject_token_type: accessToken }).expect(200);
  await handDown(world, body.access_token);
  return `/v1/trusted-issuers/${issuerId}`;
}

const arrangements = {
  'issueToken, an own token that is exchanged': async (world) => {
    const { agent, token } = await createHolding(world);
    return always(exchangeOf(token, agent, { scope: 'read' }));
  },
  "issueToken, a workload's token that is exchanged": async (world) => {
    const { say } = await createFederatedAgent(placeOf(world));
    return always(exchangeOf(await say()));
  },
  "issueToken, another agent's token that is exchanged": async (world) => {
    const { token } = await createHolding(world);
    return { ...always(exchangeOf(token, await createAgent(world.broker))), keeps: ofGrant };
  },
  'issueToken, a grant that is asked for on demand': async (world) => {
    const agent = await createAgent(world.broker);
    await asBootstrap(world.broker).patch(`/v1/agents/${agent.id}`, { grants_on_demand: true }).expect(200);
    const form = { ...brokerToken, resource: world.resource.identifier, scope: 'read' };
    return { ...always(byClient(agent, tokenPath, form)), keeps: [...ofGrant, 'idempotency_keys'] };
  },
  'issueToken, jwt-bearer': async (world) => {
    const { say } = await createFederatedAgent(placeOf(world));
    return always(byForm(tokenPath, { grant_type: jwtBearerGrant, assertion: await say() }));
  },
  'issueToken, private_key_jwt': async (world) => {
    const agent = await createKeyAgent(placeOf(world));
    const request = async () => byForm(tokenPath, { ...brokerToken, ...proofOf(await agent.assert()) });
    return { request, uses: 1 };
  },
  'issueToken, bound to a key': async (world) => {
    const holder = await createReadyHolder(placeOf(world), world.agent);
    const wire = byClient(world.agent, tokenPath, brokerToken);
    const request = async () => withProof(wire, await holder.prove('POST', tokenPath));
    return { request, uses: 1 };
  },
  'createGrant, by a token that is bound to a key': async (world) => {
    const agent = await createAgent(world.broker);
    const holder = await createReadyHolder(placeOf(world), agent);
    const asked = agent.token().set('DPoP', await holder.prove('POST', tokenPath));
    const token: string = (await asked.expect(200)).body.access_token;
    const wire = byAdmin('POST', '/v1/grants', grantRequest(world.resource.identifier));
    const byToken = { ...wire, headers: { ...wire.headers, Authorization: `DPoP ${token}` } };
    const request = async () => withProof(byToken, await holder.prove('POST', '/v1/grants', { token }));
    return { request, uses: 1 };
  },
  'updateTrustedIssuer, other keys': async (world) =>
    always(byAdmin('PATCH', await createBelieved(world), jwksOf(createKey()))),
  'deleteTrustedIssuer, one that is relied on': async (world) =>
    always(byAdmin('DELETE', await createBelieved(world))),
  'createAgent, with keys': async ({ approver }) => {
    const proof = { token_endpoint_auth_method: 'private_key_jwt', ...jwksOf(createKey()) };
    const agent = { name: 'agent', owner: approver.id, environment: 'development', ...proof };
    return always(byAdmin('POST', '/v1/agents', agent));
  },
  'updateAgent, other keys': async (world) => {
    const { id } = await createKeyAgent(placeOf(world));
    return always(byAdmin('PATCH', `/v1/agents/${id}`, jwksOf(createKey())));
  },
  'revokeToken, with grants that were handed down': async (world) => {
    const { agent, token } = await createLine(world);
    return always(byClient(agent, '/oauth2/revoke', { token }));
  },
  'disableAgent, with grants that were handed down': async (world) => {
    const { agent } = await createLine(world);
    return always(byAdmin('POST', `/v1/agents/${agent.id}/disable`, { reason: 'leaked' }));
  },
} satisfies Record<string, Arrange>;

export type VariantName = keyof typeof arrangements;
export const variantNames = Object.keys(arrangements) as VariantName[];

/** A request of this variant that succeeds and changes something, once. */
export function variantRequest(world: VariantWorld, name: VariantName): Promise<Variant> {
  const arrange: Arrange = arrangements[name];
  return arrange(world);
}
