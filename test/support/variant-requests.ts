import { randomBytes } from 'node:crypto';
import { jwtBearerGrant } from '../../src/oauth/grant-types/jwt-bearer.ts';
import { exchangeGrant } from '../../src/oauth/grant-types/token-exchange.ts';
import {
  asBootstrap,
  createAgent,
  createUpstream,
  grantRequest,
  type TestAgent,
  upstreamTerms,
} from './broker.ts';
import { createReadyHolder } from './dpop.ts';
import type { FakeClock } from './fake-clock.ts';
import { createFederatedAgent } from './federated-agent.ts';
import type { WireRequest } from './http.ts';
import { createKey, createKeyAgent, proofOf, type TestKey } from './key-agent.ts';
import { byAdmin, byClient, byForm, type World } from './valid-requests.ts';

/** A request that changes something, in a less usual form of its operation. */
export interface Variant {
  /** Makes the same request each time, except for one-time values. */
  request: () => Promise<WireRequest>;
  /** The number of one-time values that each request consumes, even if it fails. */
  uses?: number;
  /**
   * The tables in which rows stay even if the last event cannot be written, such as the row of a grant whose token
   * cannot be issued.
   */
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

/** Makes an exchange of `token`, by a client or with no other client authentication. */
function exchangeOf(token: string, client?: TestAgent, more: Record<string, string> = {}): WireRequest {
  const subject = { subject_token: token, subject_token_type: accessToken };
  const fields = { grant_type: exchangeGrant, ...subject, ...more };
  return client === undefined ? byForm(tokenPath, fields) : byClient(client, tokenPath, fields);
}

/** Creates an agent with a grant, and a token under it. */
async function createHolding({ broker, resource }: World): Promise<{ agent: TestAgent; token: string }> {
  const agent = await createAgent(broker);
  const api = await agent.api();
  await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
  const { body } = await agent.token({ resource: resource.identifier }).expect(200);
  return { agent, token: body.access_token };
}

/** Exchanges `token` as a new agent, and returns the new token. */
async function delegate(world: World, token: string): Promise<string> {
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

/** Does the same as `createHolding`, then two more agents exchange the token, one from the other. */
async function createChain(world: World): Promise<{ agent: TestAgent; token: string }> {
  const held = await createHolding(world);
  await delegate(world, await delegate(world, held.token));
  return held;
}

/** Creates a trusted issuer with an agent as a subject, and a grant delegated for a person of that issuer. */
async function createTrustedIssuer(world: VariantWorld): Promise<string> {
  const { issuerId, issueToken } = await createFederatedAgent(placeOf(world));
  const { agent } = await createHolding(world);
  const form = { resource: world.resource.identifier, scope: 'read' };
  const exchange = { grant_type: exchangeGrant, subject_token: await issueToken('alice') };
  const { body } = await agent.token({ ...form, ...exchange, subject_token_type: accessToken }).expect(200);
  await delegate(world, body.access_token);
  return `/v1/trusted-issuers/${issuerId}`;
}

const arrangements = {
  'issueToken, an own token that is exchanged': async (world) => {
    const { agent, token } = await createHolding(world);
    return always(exchangeOf(token, agent, { scope: 'read' }));
  },
  "issueToken, a workload's token that is exchanged": async (world) => {
    const { issueToken } = await createFederatedAgent(placeOf(world));
    return always(exchangeOf(await issueToken()));
  },
  "issueToken, another agent's token that is exchanged": async (world) => {
    const { token } = await createHolding(world);
    return { ...always(exchangeOf(token, await createAgent(world.broker))), keeps: ofGrant };
  },
  'issueToken, a grant that is requested on demand': async (world) => {
    const agent = await createAgent(world.broker);
    await asBootstrap(world.broker).patch(`/v1/agents/${agent.id}`, { grants_on_demand: true }).expect(200);
    const form = { ...brokerToken, resource: world.resource.identifier, scope: 'read' };
    return { ...always(byClient(agent, tokenPath, form)), keeps: [...ofGrant, 'idempotency_keys'] };
  },
  'issueToken, jwt-bearer': async (world) => {
    const { issueToken } = await createFederatedAgent(placeOf(world));
    return always(byForm(tokenPath, { grant_type: jwtBearerGrant, assertion: await issueToken() }));
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
    always(byAdmin('PATCH', await createTrustedIssuer(world), jwksOf(createKey()))),
  'deleteTrustedIssuer, one that is relied on': async (world) =>
    always(byAdmin('DELETE', await createTrustedIssuer(world))),
  'createAgent, with keys': async ({ approver }) => {
    const proof = { token_endpoint_auth_method: 'private_key_jwt', ...jwksOf(createKey()) };
    const agent = { name: 'agent', owner: approver.id, environment: 'development', ...proof };
    return always(byAdmin('POST', '/v1/agents', agent));
  },
  'updateAgent, other keys': async (world) => {
    const { id } = await createKeyAgent(placeOf(world));
    return always(byAdmin('PATCH', `/v1/agents/${id}`, jwksOf(createKey())));
  },
  'createResource, an API behind the gateway': async () => {
    const identifier = `https://${randomBytes(6).toString('hex')}.example`;
    const body = { ...upstreamTerms('variant'), identifier, name: 'API', max_grant_seconds: 3600 };
    return always(byAdmin('POST', '/v1/resources', body));
  },
  'updateResource, another credential of an upstream': async ({ broker }) => {
    const { id } = await createUpstream(broker);
    const credential = { type: 'header', name: 'x-api-key', secret: 'another-key-of-the-vendor' };
    return always(byAdmin('PATCH', `/v1/resources/${id}`, { upstream: { credential } }));
  },
  'deleteResource, an API behind the gateway': async ({ broker }) =>
    always(byAdmin('DELETE', `/v1/resources/${(await createUpstream(broker)).id}`)),
  'revokeToken, with delegated grants': async (world) => {
    const { agent, token } = await createChain(world);
    return always(byClient(agent, '/oauth2/revoke', { token }));
  },
  'disableAgent, with delegated grants': async (world) => {
    const { agent } = await createChain(world);
    return always(byAdmin('POST', `/v1/agents/${agent.id}/disable`, { reason: 'leaked' }));
  },
} satisfies Record<string, Arrange>;

export type VariantName = keyof typeof arrangements;
export const variantNames = Object.keys(arrangements) as VariantName[];

/** Makes a request of this variant, which succeeds and changes something, once. */
export function variantRequest(world: VariantWorld, name: VariantName): Promise<Variant> {
  const arrange: Arrange = arrangements[name];
  return arrange(world);
}
