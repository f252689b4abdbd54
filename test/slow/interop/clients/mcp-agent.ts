import { Client } from '@modelcontextprotocol/sdk/client';
import type { OAuthClientProvider } from '@modelcontextprotocol/sdk/client/auth.js';
import {
  ClientCredentialsProvider,
  PrivateKeyJwtProvider,
} from '@modelcontextprotocol/sdk/client/auth-extensions.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

interface Identity {
  issuer: string;
  clientId: string;
  /** Always request a scope: otherwise a server that hides its metadata would get a token for Hallpass itself. */
  scope: string;
}

export function withSecret({ issuer, ...who }: Identity & { clientSecret: string }): OAuthClientProvider {
  return new ClientCredentialsProvider({ ...who, expectedIssuer: issuer });
}

/** Creates the provider of an agent with a key. `privateKey` is PKCS #8 in PEM. */
export function withKey({ issuer, ...who }: Identity & { privateKey: string }): OAuthClientProvider {
  return new PrivateKeyJwtProvider({ ...who, algorithm: 'ES256', expectedIssuer: issuer });
}

/** Calls a tool of the MCP server at `url`. The SDK gets a token when the server requires one. */
export async function callTool(url: string, authProvider: OAuthClientProvider, name: string) {
  const client = new Client({ name: 'agent', version: '1.0.0' });
  try {
    await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider }));
    return await client.callTool({ name });
  } finally {
    await client.close();
  }
}
