import { type Answer, call, expecting } from '../e2e/support/client.ts';
import type { TokenSeen } from './history.ts';
import { scopesByRisk } from './risks.ts';

export interface ResourceModel {
  identifier: string;
  /** `id:secret` of the resource server. */
  client: string;
}

export interface HeldToken extends TokenSeen {
  raw: string;
  /** Absent: a broker token. */
  resource: ResourceModel | undefined;
}

/** What was asked for; sent again word for word, it is the same request. */
export interface GrantRequest {
  key: string;
  resource: ResourceModel;
  scopes: readonly string[];
  durationSeconds: number;
}

export interface HeldGrant {
  id: string;
  request: GrantRequest;
  /** What it was when its agent last saw it. */
  status: string;
}

/** What an agent knows, also of what has ended: that is used again to see it refused. The oldest is forgotten first. */
export interface AgentModel {
  id: string;
  /** `id:secret`. */
  client: string;
  brokerTokens: HeldToken[];
  deadBrokerTokens: HeldToken[];
  tokens: HeldToken[];
  grants: HeldGrant[];
  requests: GrantRequest[];
  /** How many different ones it has made. */
  requestCount: number;
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
  /** Whether agents exchange tokens of each other: then what is wrong with one spreads to others. */
  handsOn: boolean;
}

/** What `approvalsNeeded` says, in Cedar. */
const policies = {
  'low at once': 'context.max_risk == "low"',
  'medium with one': 'context.max_risk == "medium" && context.approvals >= 1',
  'high with two': 'context.approvals >= 2',
};

const algorithms = ['ES256', 'EdDSA', 'RS256'];
const approvers = 3;

type Post = (path: string, json: object) => Promise<Answer['body']>;

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

async function createAgent(post: Post, owner: string, name: string): Promise<AgentModel> {
  const method = { token_endpoint_auth_method: 'client_secret_basic' };
  const made = await post('/v1/agents', { name, owner, environment: 'staging', ...method });
  const client = `${made.client_id}:${made.client_secret}`;
  const nothing = { brokerTokens: [], deadBrokerTokens: [], tokens: [], grants: [], requests: [] };
  return { id: made.id, client, ...nothing, requestCount: 0 };
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

/** People, agents, resources and policies, before anything fails. */
export async function createWorld(
  url: string,
  options: { adminKey: string; agents: number; handsOn: boolean },
): Promise<World> {
  const { adminKey, handsOn } = options;
  const post: Post = async (path, json) =>
    (await expecting(201, call(`${url}${path}`, { bearer: adminKey, json }))).body;
  await replacePolicies(url, post, adminKey);
  const owner = await createPerson(post, 'owner', []);
  const world = {
    adminKey,
    approvers: [] as PersonModel[],
    agents: [] as AgentModel[],
    resources: [] as ResourceModel[],
    handsOn,
  };
  for (let n = 1; n <= approvers; n += 1)
    world.approvers.push(await createPerson(post, `approver-${n}`, ['approver']));
  for (const alg of algorithms) world.resources.push(await createResource(post, alg));
  for (let n = 1; n <= options.agents; n += 1)
    world.agents.push(await createAgent(post, owner.id, `agent-${n}`));
  return world;
}
