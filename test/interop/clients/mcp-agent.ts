import { Client } from '@modelcontextprotocol/sdk/client';
import type { OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js';
import {
  ClientCredentialsProvider,
  PrivateKeyJwtProvider,
} from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

/**
 * The SDK reads no server metadata without an authorization endpoint. Hallpass has none, as RFC 8414 section 2 allows; so the
 * document is handed to the SDK. No MCP server can send the agent to another issuer then.
 */
function fromHallpass(provider: OAuthClientProvider, issuer: string): OAuthClientProvider {
  const discoveryState = async () => {
    const answer = await fetch(`${issuer}/.well-known/oauth-authorization-server`);
    return { authorizationServerUrl: issuer, authorizationServerMetadata: await answer.json() };
  };
  return Object.assign(provider, { discoveryState });
}

interface Identity {
  issuer: string;
  clientId: string;
  /** Always name one: without a scope, a server that hides its metadata would be sent a token for Hallpass itself. */
  scope: string;
}

export function withSecret({ issuer, ...who }: Identity & { clientSecret: string }): OAuthClientProvider {
  return fromHallpass(new ClientCredentialsProvider({ ...who, expectedIssuer: issuer }), issuer);
}

/** `privateKey`: PKCS#8 in PEM. */
export function withKey({ issuer, ...who }: Identity & { privateKey: string }): OAuthClientProvider {
  const provider = new PrivateKeyJwtProvider({ ...who, algorithm: 'ES256', expectedIssuer: issuer });
  return fromHallpass(provider, issuer);
}

/** Calls a tool of the MCP server at `url`. The SDK gets a token when the server asks for one. */
export async function callTool(url: string, authProvider: OAuthClientProvider, name: string) {
  const client = new Client({ name: 'agent', version: '1.0.0' });
  try {
    await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider }));
    return await client.callTool({ name });
  } finally {
    await client.close();
  }
}
