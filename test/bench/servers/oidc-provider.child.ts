import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Provider from 'oidc-provider';

/** oidc-provider in memory: the same client authentication, an ES256 JWT of 300 s, which it does not store. */
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const client = { id: 'agent', secret: 'hps_0123456789012345678901234567890123456789012' };
const resource = 'https://api.example';
const provider = new Provider('http://127.0.0.1', {
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'k1' }] },
  clients: [
    {
      client_id: client.id,
      client_secret: client.secret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_basic',
      id_token_signed_response_alg: 'ES256',
    },
  ],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: 'read',
        audience: resource,
        accessTokenFormat: 'jwt' as const,
        accessTokenTTL: 300,
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
process.stdout.write(`${JSON.stringify({ url, authorization, form })}\n`);
process.once('SIGTERM', () => process.exit(0));
