import { fail, median, ms, print, quantile } from './figures.ts';
import type { ProbeKind, ProbeReport } from './open-loop.ts';
import { fetchTokens, type Server, type Target } from './support.ts';

/** Requests of other clients during a load. They must get a response, however high the load is. */
const p99BoundMs = 2000;
const json = 'application/json';
const form = 'application/x-www-form-urlencoded';
const grantsOfVictim = 100;
const probes = { introspections: 1000, tokenRevocations: 300 };

async function post(server: Server, path: string, { key, body }: { key?: string; body: object }) {
  const authorization = `Bearer ${key ?? server.about.adminKey}`;
  const response = await fetch(new URL(path, server.target.url), {
    method: 'POST',
    headers: { Authorization: authorization, 'Content-Type': json },
    body: JSON.stringify(body),
  });
  const answer = (await response.json()) as Record<string, string>;
  if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`);
  return answer;
}

/** Creates another agent, and returns a token request of it. */
export async function makeClient(server: Server, name: string): Promise<Target> {
  const person = { name, email: `${name}@example.com`, roles: [] };
  const { id: owner } = await post(server, '/v1/admins', { body: person });
  const method = { environment: 'production', token_endpoint_auth_method: 'client_secret_basic' };
  const agent = await post(server, '/v1/agents', { body: { name, owner, ...method } });
  const authorization = `Basic ${Buffer.from(`${agent.id}:${agent.client_secret}`).toString('base64')}`;
  return { ...server.target, authorization };
}

/**
 * Creates another agent, whose grants and tokens are revoked during the load. It has the maximum number of grants for
 * the resource.
 */
async function makeVictim(server: Server): Promise<{ target: Target; grantIds: string[] }> {
  const target = await makeClient(server, 'victim');
  const [brokerToken = ''] = await fetchTokens({ ...target, form: 'grant_type=client_credentials' }, 1);
  const request = { resource: server.about.resource, scopes: ['read'], duration_seconds: 3600, reason: 'b' };
  const grantIds: string[] = [];
  for (let n = 0; n < grantsOfVictim; n += 1) {
    const { id = '' } = await post(server, '/v1/grants', { key: brokerToken, body: request });
    grantIds.push(id);
  }
  return { target, grantIds };
}

export async function makeProbes(server: Server): Promise<ProbeKind[]> {
  const { target, grantIds } = await makeVictim(server);
  const to = (path: string): string => new URL(path, target.url).href;
  const { authorization } = target;
  const [token = '', ...revoked] = await fetchTokens(target, probes.tokenRevocations + 1);
  const introspection = { url: to('/oauth2/introspect'), authorization, type: form, body: `token=${token}` };
  return [
    {
      name: 'introspections',
      pauseMs: 20,
      // The grant of the token may be among the revoked ones: any response counts.
      requests: Array.from({ length: probes.introspections }, () => ({
        ...introspection,
        expected: '"active":',
      })),
    },
    {
      name: 'token revocations',
      pauseMs: 50,
      requests: revoked.map((each) => ({
        url: to('/oauth2/revoke'),
        authorization,
        type: form,
        body: `token=${each}`,
        expected: '',
      })),
    },
    {
      name: 'grant revocations',
      pauseMs: 100,
      requests: grantIds.map((id) => ({
        url: to(`/v1/grants/${id}/revoke`),
        authorization: `Bearer ${server.about.adminKey}`,
        type: json,
        body: '{"reason":"bench"}',
        expected: '"revoked"',
      })),
    },
  ];
}

export function sayProbe({ name, ok, wrong, latenciesMs }: ProbeReport): void {
  if (wrong.length > 0) fail(`${name} under overload: ${wrong.join('; ')}`);
  const p99 = quantile(latenciesMs, 0.99);
  if (p99 > p99BoundMs) fail(`${name} under overload take longer than ${p99BoundMs} ms`);
  const spread = `p50 ${ms(median(latenciesMs))}   p99 ${ms(p99)}   slowest ${ms(quantile(latenciesMs, 1))}`;
  print(`${name.padEnd(18)} ${ok} of ${latenciesMs.length} right   ${spread}`);
}
