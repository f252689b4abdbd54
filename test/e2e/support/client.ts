import { type Agent, request } from 'node:http';
import type { AnyJson } from '../../support/any-json.ts';

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: AnyJson;
}

interface Call {
  method?: string;
  /** A bearer credential. */
  bearer?: string;
  basic?: string;
  json?: object;
  form?: Record<string, string>;
  agent?: Agent;
}

/** Sends one HTTP request with node:http, whose connection a test can hold. Rejects if the connection breaks. */
export function call(url: string, { method, bearer, basic, json, form, agent }: Call = {}): Promise<Answer> {
  const body = json === undefined ? form && new URLSearchParams(form).toString() : JSON.stringify(json);
  const headers: Record<string, string> = {};
  if (bearer !== undefined) headers.Authorization = `Bearer ${bearer}`;
  if (basic !== undefined) headers.Authorization = `Basic ${Buffer.from(basic).toString('base64')}`;
  if (json !== undefined) headers['Content-Type'] = 'application/json';
  if (form !== undefined) headers['Content-Type'] = 'application/x-www-form-urlencoded';
  return new Promise((resolve, reject) => {
    const options = {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers,
      agent: agent ?? false,
    };
    const outgoing = request(url, options as object, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const parsed: unknown = text === '' ? undefined : JSON.parse(text);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: parsed });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** Resolves with the response if it has `status`. */
export async function expecting(status: number, answer: Promise<Answer>): Promise<Answer> {
  const got = await answer;
  if (got.status !== status)
    throw new Error(`expected ${status}, got ${got.status}: ${JSON.stringify(got.body)}`);
  return got;
}

export interface Story {
  /** `id:secret` of an agent that has an active grant for `resource`. */
  client: string;
  resource: string;
  /** The agent's broker token. */
  token: string;
  /** A pending grant of the agent. */
  pendingGrant: string;
}

/** Creates an owner, a resource, a policy for low risk, and an agent with one active and one pending grant. */
export async function createStory(url: string, adminKey: string): Promise<Story> {
  const post = (path: string, json: object, bearer = adminKey) => call(`${url}${path}`, { bearer, json });
  const person = { name: 'owner', email: `${Math.random()}@example.com`, roles: [] };
  const owner = (await expecting(201, post('/v1/admins', person))).body.id;
  const approver = { name: 'approver', email: `${Math.random()}@example.com`, roles: ['approver'] };
  const { id } = (await expecting(201, post('/v1/admins', approver))).body;
  await expecting(201, post(`/v1/admins/${id}/keys`, { name: 'k' }));
  const resource = `https://api-${Math.random().toString(36).slice(2)}.example`;
  const scopes = [
    { name: 'read', description: 'Read', risk: 'low' },
    { name: 'admin', description: 'Administer', risk: 'high' },
  ];
  const terms = { identifier: resource, name: 'api', kind: 'api', max_grant_seconds: 3600, scopes };
  await expecting(201, post('/v1/resources', terms));
  const cedar =
    'permit(principal, action == Action::"request", resource) when { context.max_risk == "low" };';
  await expecting(201, post('/v1/policies', { name: resource, cedar }));
  const auth = { token_endpoint_auth_method: 'client_secret_basic' };
  const agent = { name: 'agent', owner, environment: 'staging', ...auth };
  const created = (await expecting(201, post('/v1/agents', agent))).body;
  const client = `${created.client_id}:${created.client_secret}`;
  const form = { grant_type: 'client_credentials' };
  const token = (await expecting(200, call(`${url}/oauth2/token`, { basic: client, form }))).body
    .access_token;
  const request = { resource, duration_seconds: 3600, reason: 'test' };
  await expecting(201, post('/v1/grants', { ...request, scopes: ['read'] }, token));
  const pending = await expecting(202, post('/v1/grants', { ...request, scopes: ['admin'] }, token));
  return { client, resource, token, pendingGrant: pending.body.id };
}
