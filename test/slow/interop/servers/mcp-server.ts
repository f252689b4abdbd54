import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import express from 'express';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

/** Registers the tools. `authInfo` names the calling agent and its scopes. */
function createTools(): McpServer {
  const server = new McpServer({ name: 'weather', version: '1.0.0' });
  server.registerTool('forecast', { description: 'The weather of tomorrow' }, ({ authInfo }) => ({
    content: [{ type: 'text', text: `rain, ${authInfo?.clientId}` }],
  }));
  return server;
}

/** Verifies tokens of Hallpass for `resource` with its JWKS, without introspection. */
function createVerifier(issuer: string, resource: string) {
  const keys = createRemoteJWKSet(new URL(`${issuer}/oauth2/jwks`), { cacheMaxAge: 300_000 });
  const terms = { issuer, audience: resource, typ: 'at+jwt', algorithms: ['ES256'] };
  return {
    async verifyAccessToken(token: string) {
      const { payload } = await jwtVerify(token, keys, terms).catch((error: unknown) => {
        // Also a JWKS that is late or invalid, for which jose throws a JOSEError, too. A network failure is rethrown.
        throw error instanceof errors.JOSEError ? new InvalidTokenError(error.message) : error;
      });
      const { client_id: clientId, scope, exp: expiresAt = 0 } = payload;
      return { token, clientId: String(clientId), scopes: String(scope).split(' '), expiresAt };
    },
  };
}

/** Creates an MCP server. `metadata` is the metadata document of its resource, from Hallpass. */
export function mcpServer(metadata: { resource: string; authorization_servers: string[] }) {
  const { resource, authorization_servers: servers } = metadata;
  const { origin, pathname } = new URL(resource);
  const place = `/.well-known/oauth-protected-resource${pathname.replace(/\/$/, '')}`;
  const app = express();
  app.get(place, (_request, response) => void response.json(metadata));
  const authenticate = requireBearerAuth({
    verifier: createVerifier(servers[0] ?? '', resource),
    requiredScopes: ['read'],
    resourceMetadataUrl: `${origin}${place}`,
  });
  app.post(pathname, authenticate, express.json(), async (request, response) => {
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
    response.once('close', () => void transport.close());
    await createTools().connect(transport);
    await transport.handleRequest(request, response, request.body);
  });
  return app;
}
