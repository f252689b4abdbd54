import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Provider from 'oidc-provider';
import pg from 'pg';
import { createAdapterFactory } from './postgres-adapter.ts';

/**
 * oidc-provider with the same client authentication. Without options it works in memory and issues an ES256 JWT of
 * 900 s, which it does not store. With `databaseUrl` it issues opaque tokens instead and stores them in Postgres,
 * where introspection finds them. With `accessTokens` it also has that many tokens of the model that introspection
 * finds with one look-up, and no token endpoint for clients: its line lists them. With `clientKey` the client
 * authenticates with that key, and tokens are bound by DPoP.
 */
interface Options {
  databaseUrl?: string;
  connections?: number;
  accessTokens?: number;
  clientKey?: object;
}

const options = JSON.parse(process.argv[2] ?? '{}') as Options;
const { databaseUrl, connections, accessTokens = 0, clientKey } = options;
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const client = { id: 'agent', secret: 'hps_0123456789012345678901234567890123456789012' };
const resource = 'https://api.example';
const tokenSeconds = 900;
const pool =
  databaseUrl === undefined ? undefined : new pg.Pool({ connectionString: databaseUrl, max: connections });
const flow =
  accessTokens === 0
    ? { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }
    : {
        grant_types: ['authorization_code'],
        redirect_uris: ['https://client.example'],
        response_types: ['code'],
      };
const authentication =
  clientKey === undefined
    ? { client_secret: client.secret, token_endpoint_auth_method: 'client_secret_basic' }
    : { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [clientKey] } };
const provider = new Provider('http://127.0.0.1', {
  ...(pool === undefined ? {} : { adapter: createAdapterFactory(pool) }),
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'k1' }] },
  clients: [
    {
      client_id: client.id,
      ...authentication,
      ...flow,
      id_token_signed_response_alg: 'ES256',
    },
  ],
  features: {
    clientCredentials: { enabled: accessTokens === 0 },
    devInteractions: { enabled: false },
    dPoP: { enabled: clientKey !== undefined },
    introspection: { enabled: pool !== undefined },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: 'read',
        audience: resource,
        accessTokenFormat: pool === undefined ? ('jwt' as const) : ('opaque' as const),
        accessTokenTTL: tokenSeconds,
        jwt: { sign: { alg: 'ES256' as const } },
      }),
    },
  },
});
const server = createServer(provider.callback());
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
const authorization = `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}`;
const form = `grant_type=client_credentials&resource=${encodeURIComponent(resource)}&scope=read`;

async function saveAccessTokens(): Promise<string[]> {
  const known = await provider.Client.find(client.id);
  const token = { client: known, scope: 'read', expiresIn: tokenSeconds };
  return Promise.all(Array.from({ length: accessTokens }, () => new provider.AccessToken(token).save()));
}

const tokens = await saveAccessTokens();
process.stdout.write(`${JSON.stringify({ url, authorization, form, tokens: tokens.join(' ') })}\n`);
process.once('SIGTERM', () => process.exit(0));
