import type { RequestListener } from 'node:http';
import { discoverAuthorizationServerMetadata } from '@modelcontextprotocol/sdk/client/auth.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { grantTo } from '../../oauth/fixtures.ts';
import { asBootstrap, createResource } from '../../support/broker.ts';
import { freePort } from '../../support/free-port.ts';
import { type Service, startService } from './broker.ts';
import { callTool, withKey, withSecret } from './clients/mcp-agent.ts';
import { listen } from './listen.ts';
import { mcpServer } from './servers/mcp-server.ts';
import { startTokens, type Tokens } from './tokens.ts';

/** Tests with an MCP server that trusts Hallpass, and agents that know only its URL. */
let service: Service;
beforeAll(async () => {
  service = await startService();
});

interface Asked {
  method: string | undefined;
  url: string | undefined;
  status: number;
}

/** Starts an MCP server whose identifier is its address, and records all its requests. */
async function startMcpServer({ path, hide = false }: { path: string; hide?: boolean }) {
  const port = await freePort();
  const identifier = `http://127.0.0.1:${port}${path}`;
  const { issuer, agent, keyAgent } = service;
  const resource = await createResource({ url: issuer }, { identifier });
  for (const one of [agent, keyAgent]) await grantTo(one, resource, { scopes: ['read'] });
  const place = `/v1/resources/${resource.id}/protected-resource-metadata`;
  const app = mcpServer((await asBootstrap({ url: issuer }).get(place).expect(200)).body);
  const asked: Asked[] = [];
  const authorizations: unknown[] = [];
  const listener: RequestListener = (request, response) => {
    const { method, url, headers } = request;
    authorizations.push(headers.authorization);
    response.once('finish', () => asked.push({ method, url, status: response.statusCode }));
    if (hide && method === 'GET') response.writeHead(404).end();
    else app(request, response);
  };
  await listen(listener, port);
  return { identifier, resource, asked, authorizations };
}

const bySecret = (terms: object = {}) => {
  const { issuer, agent } = service;
  return withSecret({ issuer, clientId: agent.id, clientSecret: agent.secret, scope: 'read', ...terms });
};
const byKey = () => {
  const { issuer, keyAgent } = service;
  const privateKey = keyAgent.key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return withKey({ issuer, clientId: keyAgent.id, privateKey, scope: 'read' });
};

describe.each(['/mcp', ''])('an MCP server at the path "%s" of its origin', (path) => {
  it.each([
    ['a client secret', bySecret, () => service.agent.id],
    ['a private key', byKey, () => service.keyAgent.id],
  ])('is called by an agent with %s, which gets the token endpoint from its 401', async (_, provider, id) => {
    const { identifier, asked } = await startMcpServer({ path });
    const { content } = await callTool(identifier, provider(), 'forecast');
    expect(content).toEqual([{ type: 'text', text: `rain, ${id()}` }]);
    const [refused, document] = asked;
    expect(refused).toMatchObject({ method: 'POST', status: 401 });
    expect(document).toEqual({
      method: 'GET',
      url: `/.well-known/oauth-protected-resource${path}`,
      status: 200,
    });
  });
});

describe('the SDK', () => {
  it('discovers the endpoints of Hallpass, whose authorization endpoint refuses every request', async () => {
    const { issuer } = service;
    const metadata = await discoverAuthorizationServerMetadata(issuer);
    const authorize = new URL(metadata?.authorization_endpoint ?? '');
    authorize.search = 'response_type=code&client_id=x&redirect_uri=https://evil.example&state=s';
    const answer = await fetch(authorize, { redirect: 'manual' });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: 'unsupported_response_type' });
    expect(answer.headers.get('location')).toBeNull();
  });
});

describe('an MCP server', () => {
  it('that hides its metadata gets no token, nor any other credential of the agent, which knows its issuer', async () => {
    const { identifier, authorizations } = await startMcpServer({ path: '/mcp', hide: true });
    await expect(callTool(identifier, bySecret(), 'forecast')).rejects.toThrow(/expectedIssuer/);
    expect(authorizations.filter((one) => one !== undefined)).toEqual([]);
  });

  it('gets nothing from an agent whose grant has ended', async () => {
    const { identifier } = await startMcpServer({ path: '/mcp' });
    const { issuer, agent } = service;
    const api = asBootstrap({ url: issuer });
    const { items } = (await api.get(`/v1/grants?agent_id=${agent.id}&status=active&limit=200`).expect(200))
      .body;
    const grant = items.find((one: { resource: string }) => one.resource === identifier);
    await api.post(`/v1/grants/${grant.id}/revoke`, { reason: 'enough' }).expect(200);
    await expect(callTool(identifier, bySecret(), 'forecast')).rejects.toThrow(/grant/);
  });
});

describe('a token at an MCP server', () => {
  const identifier = 'http://mcp.example/mcp';
  let tokens: Tokens;
  let url: string;
  beforeAll(async () => {
    const own = await startTokens({ identifier, scopes: { good: 'read', narrow: 'write' } });
    tokens = own.tokens;
    url = await listen(mcpServer({ resource: identifier, authorization_servers: [own.issuer] }));
  });

  it.each<[keyof Tokens, number]>([
    // These tokens are refused because of the request: each token itself is valid.
    ['good', 406],
    ['aged', 406],
    ['expired', 401],
    ['otherAudience', 401],
    ['otherIssuer', 401],
    ['garbage', 401],
    ['narrow', 403],
  ])('is accepted or refused: %s', async (name, status) => {
    const headers = { authorization: `Bearer ${tokens[name]}`, 'content-type': 'application/json' };
    expect((await fetch(`${url}/mcp`, { method: 'POST', headers, body: '{}' })).status).toBe(status);
  });
});
