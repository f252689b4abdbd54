import { randomBytes } from 'node:crypto';
import type { OperationId } from '../../src/http/operation-id.ts';
import {
  apiOf,
  asBootstrap,
  bootstrapKey,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  createTarget,
  createUpstream,
  grantRequest,
  readAtOnce,
  type TestAgent,
  type TestPerson,
} from './broker.ts';
import { bearer, type WireRequest } from './http.ts';

/** The POST operations that change nothing. */
export const readingPosts = ['checkTrustedIssuerToken', 'simulatePolicies', 'introspectToken'] as const;

/** The objects of the requests below, one of each kind. No request changes them. */
export interface World {
  broker: { url: string };
  agent: TestAgent;
  agentToken: string;
  approver: TestPerson;
  resource: { id: string; identifier: string };
}

type Arrange = (world: World) => Promise<WireRequest>;

const json = { 'Content-Type': 'application/json' };
const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
const unique = (): string => randomBytes(6).toString('hex');

export function byAdmin(method: string, path: string, body?: object): WireRequest {
  const encoded = body === undefined ? {} : { body: JSON.stringify(body) };
  return { method, path, headers: { ...json, ...bearer(bootstrapKey) }, ...encoded };
}

/** Makes a request of another caller than the bootstrap admin. */
function by(credential: string, wire: WireRequest): WireRequest {
  return { ...wire, headers: { ...wire.headers, ...bearer(credential) } };
}

/** Makes a form request to `/oauth2` without an Authorization header. */
export function byForm(path: string, fields: Record<string, string>): WireRequest {
  return { method: 'POST', path, headers: form, body: new URLSearchParams(fields).toString() };
}

export function byClient(
  { id, secret }: TestAgent,
  path: string,
  fields: Record<string, string>,
): WireRequest {
  const wire = byForm(path, fields);
  const basic = Buffer.from(`${id}:${secret}`).toString('base64');
  return { ...wire, headers: { ...wire.headers, Authorization: `Basic ${basic}` } };
}

const newAgent = async ({ broker }: World): Promise<string> => `/v1/agents/${(await createAgent(broker)).id}`;
const newPerson = async ({ broker }: World): Promise<string> =>
  `/v1/admins/${(await createPerson(broker)).id}`;
const newResource = async ({ broker }: World): Promise<string> =>
  `/v1/resources/${(await createResource(broker)).id}`;
async function newTrustedIssuer({ broker }: World): Promise<string> {
  const issuer = `https://${unique()}.example`;
  const created = await asBootstrap(broker).post('/v1/trusted-issuers', { name: 'CI', issuer }).expect(201);
  return `/v1/trusted-issuers/${created.body.id}`;
}
const newPolicy = async ({ broker }: World): Promise<string> =>
  `/v1/policies/${await createPolicy(broker, readAtOnce)}`;

async function newGrant({ broker, agentToken, resource }: World, scope: 'read' | 'write') {
  const asked = grantRequest(resource.identifier, { scopes: [scope] });
  const { body: grant } = await apiOf(broker, agentToken).post('/v1/grants', asked);
  if (grant.status !== (scope === 'read' ? 'active' : 'pending')) throw new Error(JSON.stringify(grant));
  return { path: `/v1/grants/${grant.id}`, digest: grant.request_digest };
}

/** Makes a lease of the world's agent. Returns its grant and its path. */
async function newLease({ broker, agentToken }: World, { isMade }: { isMade: boolean }) {
  const target = await createTarget(broker);
  const api = apiOf(broker, agentToken);
  const grant = await api.post('/v1/grants', grantRequest(target.identifier)).expect(201);
  const lease = isMade
    ? (await api.post('/v1/leases', { grant_id: grant.body.id }).expect(201)).body
    : undefined;
  return { grantId: grant.body.id as string, path: `/v1/leases/${lease?.id}` };
}

/** Returns the path of the secret or key that was created last under `path`. */
async function lastOf({ broker }: World, path: string, list: 'keys' | 'secrets'): Promise<string> {
  const { body } = await asBootstrap(broker).get(path).expect(200);
  return `${path}/${list}/${body[list].at(-1).id}`;
}

/** A policy that does not affect the other requests, in any order. */
const cedar = 'forbid(principal, action == Action::"request", resource) when { context.max_risk == "high" };';

/** For each operation that changes something, a function that makes a valid request and everything that it needs. */
const arrangements = {
  createAdmin: async () =>
    byAdmin('POST', '/v1/admins', { name: 'Ada', email: `${unique()}@example.com`, roles: ['approver'] }),
  updateAdmin: async (world) => byAdmin('PATCH', await newPerson(world), { name: 'Grace' }),
  deleteAdmin: async (world) => byAdmin('DELETE', await newPerson(world)),
  createAdminKey: async (world) => byAdmin('POST', `${await newPerson(world)}/keys`, { name: 'laptop' }),
  revokeAdminKey: async (world) => byAdmin('DELETE', await lastOf(world, await newPerson(world), 'keys')),
  createAgent: async ({ approver }) =>
    byAdmin('POST', '/v1/agents', {
      name: 'agent',
      owner: approver.id,
      environment: 'development',
      token_endpoint_auth_method: 'client_secret_basic',
    }),
  updateAgent: async (world) => byAdmin('PATCH', await newAgent(world), { name: 'other' }),
  deleteAgent: async (world) => byAdmin('DELETE', await newAgent(world)),
  disableAgent: async (world) => byAdmin('POST', `${await newAgent(world)}/disable`, { reason: 'leaked' }),
  async enableAgent(world) {
    const path = await newAgent(world);
    await asBootstrap(world.broker).post(`${path}/disable`).expect(200);
    return byAdmin('POST', `${path}/enable`, {});
  },
  createAgentSecret: async (world) => byAdmin('POST', `${await newAgent(world)}/secrets`, {}),
  revokeAgentSecret: async (world) =>
    byAdmin('DELETE', await lastOf(world, await newAgent(world), 'secrets')),
  createTrustedIssuer: async () =>
    byAdmin('POST', '/v1/trusted-issuers', { name: 'CI', issuer: `https://${unique()}.example` }),
  updateTrustedIssuer: async (world) => byAdmin('PATCH', await newTrustedIssuer(world), { name: 'other' }),
  deleteTrustedIssuer: async (world) => byAdmin('DELETE', await newTrustedIssuer(world)),
  createResource: async () =>
    byAdmin('POST', '/v1/resources', {
      identifier: `https://${unique()}.example`,
      name: 'API',
      kind: 'api',
      scopes: [{ name: 'chat', description: 'Chat', risk: 'low' }],
      max_grant_seconds: 3600,
    }),
  updateResource: async (world) => byAdmin('PATCH', await newResource(world), { token_ttl_seconds: 60 }),
  deleteResource: async (world) => byAdmin('DELETE', await newResource(world)),
  createResourceSecret: async (world) => byAdmin('POST', `${await newResource(world)}/secrets`, {}),
  async revokeResourceSecret(world) {
    const path = await newResource(world);
    await asBootstrap(world.broker).post(`${path}/secrets`).expect(201);
    return byAdmin('DELETE', await lastOf(world, path, 'secrets'));
  },
  createUpstreamCredential: async ({ broker }) =>
    byAdmin('POST', `/v1/resources/${(await createUpstream(broker)).id}/upstream-credentials`, {
      secret: 'next-key-of-the-vendor',
    }),
  async deleteUpstreamCredential({ broker }) {
    const path = `/v1/resources/${(await createUpstream(broker)).id}/upstream-credentials`;
    const added = await asBootstrap(broker).post(path, { secret: 'next-key-of-the-vendor' }).expect(201);
    return byAdmin('DELETE', `${path}/${added.body.id}`);
  },
  createPolicy: async () => byAdmin('POST', '/v1/policies', { name: `policy ${unique()}`, cedar }),
  updatePolicy: async (world) => byAdmin('PUT', await newPolicy(world), { cedar: readAtOnce, version: 1 }),
  deletePolicy: async (world) => byAdmin('DELETE', await newPolicy(world)),
  testResourceTarget: async ({ broker }) =>
    byAdmin('POST', `/v1/resources/${(await createTarget(broker)).id}/preflight`),
  rotateTargetPassword: async ({ broker }) =>
    byAdmin('POST', `/v1/resources/${(await createTarget(broker)).id}/rotate-password`),
  reconcileTarget: async ({ broker }) =>
    byAdmin('POST', `/v1/resources/${(await createTarget(broker)).id}/reconcile`),
  async createLease(world) {
    const { grantId } = await newLease(world, { isMade: false });
    return by(world.agentToken, byAdmin('POST', '/v1/leases', { grant_id: grantId }));
  },
  async renewLease(world) {
    const { path } = await newLease(world, { isMade: true });
    return by(world.agentToken, byAdmin('POST', `${path}/renew`, { ttl_seconds: 30 }));
  },
  async revokeLease(world) {
    const { path } = await newLease(world, { isMade: true });
    return byAdmin('POST', `${path}/revoke`, { reason: 'leaked' });
  },
  createGrant: async ({ agentToken, resource }) =>
    by(agentToken, {
      ...byAdmin('POST', '/v1/grants', grantRequest(resource.identifier)),
      headers: { ...json, 'Idempotency-Key': unique() },
    }),
  async approveGrant(world) {
    const { path, digest } = await newGrant(world, 'write');
    return by(world.approver.key, byAdmin('POST', `${path}/approve`, { request_digest: digest, note: 'ok' }));
  },
  async denyGrant(world) {
    const { path } = await newGrant(world, 'write');
    return by(world.approver.key, byAdmin('POST', `${path}/deny`, { reason: 'no' }));
  },
  async cancelGrant(world) {
    const { path } = await newGrant(world, 'write');
    return by(world.agentToken, byAdmin('POST', `${path}/cancel`, {}));
  },
  async returnGrant(world) {
    const { path } = await newGrant(world, 'read');
    return by(world.agentToken, byAdmin('POST', `${path}/return`, {}));
  },
  revokeGrant: async (world) =>
    byAdmin('POST', `${(await newGrant(world, 'read')).path}/revoke`, { reason: 'enough' }),
  rotateKeys: async () => byAdmin('POST', '/v1/keys/rotate', { reason: 'quarterly' }),
  async issueToken(world) {
    const grant_id = (await newGrant(world, 'read')).path.split('/').at(-1) ?? '';
    const fields = { resource: world.resource.identifier, scope: 'read', grant_id };
    return byClient(world.agent, '/oauth2/token', { grant_type: 'client_credentials', ...fields });
  },
  async revokeToken({ agent }) {
    const { body } = await agent.token().expect(200);
    return byClient(agent, '/oauth2/revoke', { token: body.access_token });
  },
} satisfies Partial<Record<OperationId, Arrange>>;

export type MutationId = keyof typeof arrangements;
export const mutationIds = Object.keys(arrangements) as MutationId[];

/**
 * Makes the objects that the requests need. The broker's clock must be ten minutes past
 * its first start: until then no signing key has been published long enough to sign.
 */
export async function createWorld(broker: { url: string }): Promise<World> {
  await createPolicy(broker, readAtOnce);
  const agent = await createAgent(broker);
  const { body } = await agent.token().expect(200);
  return {
    broker,
    agent,
    agentToken: body.access_token,
    approver: await createPerson(broker, { roles: ['approver'] }),
    resource: await createResource(broker),
  };
}

/** Makes a request of this operation that succeeds and changes something, once. */
export function validRequest(world: World, id: MutationId): Promise<WireRequest> {
  const arrange: Arrange = arrangements[id];
  return arrange(world);
}
