import createClient, { type Client } from 'openapi-fetch';
import type { components, paths } from '../src/http/api.gen.ts';

/** The credentials that the walkthrough in the README uses. */
export interface DemoCredentials {
  /** `client_id:client_secret` of the agent `report-writer`. */
  agent: string;
  /** `client_id:client_secret` with which the resource server introspects tokens. */
  resourceServer: string;
  /** The API key of Anna, who has the role `approver`. */
  approverKey: string;
}

export interface DemoTarget {
  /** The base URL of a running broker. */
  url: string;
  /** The API key of a person with the role `admin`. */
  adminKey: string;
}

const olga = { name: 'Olga', email: 'olga@example.com', roles: [] };
const anna = {
  name: 'Anna',
  email: 'anna@example.com',
  roles: ['approver' as const],
  groups: ['security'],
};
const inference = {
  identifier: 'https://llm.example/v1',
  name: 'Inference',
  kind: 'api' as const,
  max_grant_seconds: 3600,
  scopes: [
    { name: 'chat', description: 'Run chat completions', risk: 'low' as const },
    { name: 'models.write', description: 'Load and replace models', risk: 'high' as const },
  ],
};
const lowRiskAtOnce = {
  name: 'low risk at once',
  cedar:
    'permit(principal, action == Action::"request", resource)' +
    ' when { context.max_risk == "low" && context.duration_seconds <= 900 };',
};

type Problem = components['schemas']['Problem'];
interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/**
 * Creates over HTTP what the walk in the README needs: an owner, an approver, a resource, a policy and an agent. It may
 * run several times on one broker: it keeps the people, the resource and the policy, and creates a new agent and new
 * credentials each time.
 *
 * @throws Error with the broker's answer if the broker refuses a step.
 */
export async function seedDemo({ url, adminKey }: DemoTarget): Promise<DemoCredentials> {
  const api = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${adminKey}` } });
  const owner = await findOrCreatePerson(api, olga);
  const approver = await findOrCreatePerson(api, anna);
  const approverPath = { params: { path: { admin_id: approver } }, body: { name: 'laptop' } };
  const { key } = expectData(await api.POST('/v1/admins/{admin_id}/keys', approverPath));
  const resource = await findOrCreateResource(api);
  const secret = await replaceResourceSecret(api, resource);
  const policy = await api.POST('/v1/policies', { body: lowRiskAtOnce });
  if (codeOf(policy) !== 'name-taken') expectData(policy);
  const agent = expectData(
    await api.POST('/v1/agents', {
      body: {
        name: 'report-writer',
        owner,
        environment: 'production',
        token_endpoint_auth_method: 'client_secret_basic',
      },
    }),
  );
  return {
    agent: `${agent.client_id}:${agent.client_secret}`,
    resourceServer: `${resource}:${secret}`,
    approverKey: key,
  };
}

async function findOrCreatePerson(api: Client<paths>, person: typeof olga | typeof anna): Promise<string> {
  const created = await api.POST('/v1/admins', { body: person });
  const find = async () => {
    const page = expectData(await api.GET('/v1/admins', { params: { query: { limit: 100 } } }));
    return page.items.find(({ email }) => email === person.email);
  };
  return idOf(created, { taken: 'email-taken', name: person.email, find });
}

async function findOrCreateResource(api: Client<paths>): Promise<string> {
  const created = await api.POST('/v1/resources', { body: inference });
  const find = async () => {
    const page = expectData(await api.GET('/v1/resources', { params: { query: { limit: 100 } } }));
    return page.items.find(({ identifier }) => identifier === inference.identifier);
  };
  return idOf(created, { taken: 'identifier-taken', name: inference.identifier, find });
}

interface Existing {
  /** The code with which the broker refuses to create an object whose name is in use. */
  taken: Problem['code'];
  name: string;
  /** Finds the object that has the name. */
  find: () => Promise<{ id: string } | undefined>;
}

/** Returns the id of the created object or, if its name was in use, of the existing object with this name. */
async function idOf(created: Answer<{ id: string }>, { taken, name, find }: Existing): Promise<string> {
  if (codeOf(created) !== taken) return expectData(created).id;
  const existing = await find();
  if (existing !== undefined) return existing.id;
  throw new Error(
    `${name} was deleted, or is not among the first 100: start the broker on a new data directory`,
  );
}

/** Revokes the earlier secrets of the resource, because at most two may be valid, and issues a new one. */
async function replaceResourceSecret(api: Client<paths>, id: string): Promise<string> {
  const path = { resource_id: id };
  const { secrets } = expectData(await api.GET('/v1/resources/{resource_id}', { params: { path } }));
  for (const { id: secretId, revoked_at } of secrets) {
    if (revoked_at !== null) continue;
    const params = { path: { ...path, secret_id: secretId } };
    const { error } = await api.DELETE('/v1/resources/{resource_id}/secrets/{secret_id}', { params });
    if (error !== undefined) throw new Error(JSON.stringify(error));
  }
  return expectData(await api.POST('/v1/resources/{resource_id}/secrets', { params: { path }, body: {} }))
    .client_secret;
}

function codeOf({ error }: Answer<unknown>): string | undefined {
  return (error as Problem | undefined)?.code;
}

function expectData<T>({ data, error, response }: Answer<T>): T {
  if (data !== undefined) return data;
  throw new Error(`${response.url} answered ${response.status}: ${JSON.stringify(error)}`);
}
