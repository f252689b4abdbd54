import { calculateJwkThumbprint } from 'jose';
import type { TokenSeen } from '../../chaos-checker/history.ts';
import { scopesByRisk } from '../../chaos-checker/risks.ts';
import { type Answer, call, expecting } from '../../e2e/support/client.ts';
import type { PostgresSubject } from '../../engines/postgres/subject.ts';
import { createHolder, type Holder } from '../../support/dpop.ts';
import { createKey, type TestKey } from '../../support/key-agent.ts';
import type { Act } from './actors/player.ts';

export interface ResourceModel {
  identifier: string;
  /** `id:secret` of the resource server. */
  client: string;
}

export interface HeldToken extends TokenSeen {
  raw: string;
  /** The resource of the token; absent for a broker token. */
  resource: ResourceModel | undefined;
  /** The agents of its subject tokens, beginning with the first; empty if it was not obtained by exchange. */
  chain: readonly string[];
  /** Its direct and indirect subject tokens. */
  subjects: readonly string[];
  /** Whether it was refused to an actor. */
  isRefused: boolean;
}

/** A client secret (`client` is `id:secret`) or a key. `id` is its name in the history. */
export type Credential =
  | { id: string; client: string; key?: undefined }
  | { id: string; client?: undefined; key: TestKey };

/** The properties of an agent in this world. */
export interface AgentTerms {
  proof: 'secret' | 'key';
  /** Whether its tokens are bound to a key (RFC 9449). */
  isBound?: boolean;
  /**
   * Whose tokens it exchanges: those of any agent, or only of lenders. A fault in a token also affects the tokens
   * that it is exchanged for.
   */
  exchanges: 'any' | 'lent' | 'none';
  /** Whether it is a lender: no fault affects its tokens. */
  lends?: boolean;
  /** Whether it makes leases. Default: true. */
  holdsLeases?: boolean;
}

/** A request that can be repeated exactly. */
export interface GrantRequest {
  key: string;
  resource: ResourceModel;
  scopes: readonly string[];
  durationSeconds: number;
}

export interface HeldGrant {
  id: string;
  request: GrantRequest;
  /** Its state when the agent last read it. */
  status: string;
}

/** What an agent knows, including ended grants and tokens, which are tried again. The oldest are dropped first. */
export interface AgentModel {
  id: string;
  exchanges: AgentTerms['exchanges'];
  lends: boolean;
  holdsLeases: boolean;
  credential: Credential;
  /** Whether its keys may have been replaced by unknown ones. */
  isLockedOut: boolean;
  /** The holder of the key to which its tokens are bound. */
  holding: { holder: Holder; jkt: string } | undefined;
  /** Requests with one-time values, to be repeated. */
  sent: Act[];
  brokerTokens: HeldToken[];
  deadBrokerTokens: HeldToken[];
  tokens: HeldToken[];
  grants: HeldGrant[];
  requests: GrantRequest[];
  /** The number of requests with different parameters so far. */
  requestCount: number;
}

/** A lease with its credential. */
export interface HeldLease {
  id: string;
  agentId: string;
  credential: { username: string; password: string; host: string; port: number; database: string };
}

export interface PersonModel {
  id: string;
  key: string;
}

export interface World {
  adminKey: string;
  approvers: readonly PersonModel[];
  agents: readonly AgentModel[];
  resources: readonly ResourceModel[];
  /** The resource that yields leases. */
  target: { identifier: string };
  /** The latest leases of all agents. */
  leases: HeldLease[];
}

/** The policies that have the same rule as `approvalsNeeded`. */
const policies = {
  'low at once': 'context.max_risk == "low"',
  'medium with one': 'context.max_risk == "medium" && context.approvals >= 1',
  'high with two': 'context.approvals >= 2',
};

const algorithms = ['ES256', 'EdDSA', 'RS256'];
const approvers = 3;

type Post = (path: string, json: object) => Promise<Answer['body']>;
type Get = (path: string) => Promise<Answer['body']>;

async function createPerson(post: Post, name: string, roles: string[]): Promise<PersonModel> {
  const { id } = await post('/v1/admins', { name, email: `${name}@example.com`, roles });
  const { key } = await post(`/v1/admins/${id}/keys`, { name });
  return { id, key };
}

async function createResource(post: Post, alg: string): Promise<ResourceModel> {
  const identifier = `https://${alg.toLowerCase()}.example`;
  const scopes = Object.entries(scopesByRisk).flatMap(([risk, names]) =>
    names.map((name) => ({ name, description: name, risk })),
  );
  const terms = { kind: 'api', max_grant_seconds: 600, token_ttl_seconds: 60, token_alg: alg, scopes };
  const { id } = await post('/v1/resources', { identifier, name: alg, ...terms });
  const { client_secret: secret } = await post(`/v1/resources/${id}/secrets`, {});
  return { identifier, client: `${id}:${secret}` };
}

/** Registers the target. Both low scopes mean the same role. */
async function createTarget(post: Post, { options, reader }: PostgresSubject): Promise<World['target']> {
  const { host, port, database, username, password } = options.connection;
  const identifier = 'postgres://target.internal/orders';
  const scopes = scopesByRisk.low.map((name) => ({ name, description: name, risk: 'low', roles: [reader] }));
  const connection = { host, port, database, username, password, tls: { mode: 'off' } };
  const terms = { kind: 'postgres', max_grant_seconds: 600, scopes, connection };
  await post('/v1/resources', { identifier, name: 'target', ...terms });
  return { identifier };
}

async function createHolding(): Promise<AgentModel['holding']> {
  const key = createKey();
  const holder = createHolder({ now: () => new Date() }, key);
  return { holder, jkt: await calculateJwkThumbprint(key.jwk) };
}

async function createAgent(
  { post, get }: { post: Post; get: Get },
  base: object,
  { proof, isBound = false, exchanges, lends = false, holdsLeases = true }: AgentTerms,
): Promise<AgentModel> {
  const key = createKey();
  const method =
    proof === 'key'
      ? { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [key.jwk] } }
      : { token_endpoint_auth_method: 'client_secret_basic' };
  const made = await post('/v1/agents', { ...base, ...method, require_bound_tokens: isBound });
  const { secrets } = await get(`/v1/agents/${made.id}`);
  const credential: Credential =
    proof === 'key'
      ? { id: key.kid, key }
      : { id: secrets[0].id, client: `${made.client_id}:${made.client_secret}` };
  const holding = isBound ? await createHolding() : undefined;
  const nothing = { brokerTokens: [], deadBrokerTokens: [], tokens: [], grants: [], requests: [], sent: [] };
  const known = { id: made.id, exchanges, lends, holdsLeases, credential, holding };
  return { ...known, isLockedOut: false, ...nothing, requestCount: 0 };
}

async function replacePolicies(url: string, post: Post, adminKey: string): Promise<void> {
  const { body } = await expecting(200, call(`${url}/v1/policies`, { bearer: adminKey }));
  for (const [name, condition] of Object.entries(policies)) {
    const cedar = `permit(principal, action == Action::"request", resource) when { ${condition} };`;
    await post('/v1/policies', { name, cedar });
  }
  for (const { id } of body.items)
    await call(`${url}/v1/policies/${id}`, { method: 'DELETE', bearer: adminKey });
}

/** Creates people, agents, resources and policies, before any faults. */
export async function createWorld(
  url: string,
  options: { adminKey: string; agents: readonly AgentTerms[]; target: PostgresSubject },
): Promise<World> {
  const { adminKey } = options;
  const post: Post = async (path, json) =>
    (await expecting(201, call(`${url}${path}`, { bearer: adminKey, json }))).body;
  const get: Get = async (path) => (await expecting(200, call(`${url}${path}`, { bearer: adminKey }))).body;
  await replacePolicies(url, post, adminKey);
  const owner = await createPerson(post, 'owner', []);
  const world = {
    adminKey,
    approvers: [] as PersonModel[],
    agents: [] as AgentModel[],
    resources: [] as ResourceModel[],
    target: await createTarget(post, options.target),
    leases: [] as HeldLease[],
  };
  for (let n = 1; n <= approvers; n += 1)
    world.approvers.push(await createPerson(post, `approver-${n}`, ['approver']));
  for (const alg of algorithms) world.resources.push(await createResource(post, alg));
  for (const [n, terms] of options.agents.entries()) {
    const base = { name: `agent-${n + 1}`, owner: owner.id, environment: 'staging' };
    world.agents.push(await createAgent({ post, get }, base, terms));
  }
  return world;
}
