import { decodeJwt } from 'jose';
import * as oauth from 'oauth4webapi';
import { Agent } from 'undici';
import { beforeAll, describe, expect, it } from 'vitest';
import { startHttpsServer, testCa } from '../../outbound/https-server.ts';
import { type Service, startService } from './broker.ts';

let service: Service;
let as: oauth.AuthorizationServer;
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const tokenType = 'urn:ietf:params:oauth:token-type:access_token';
const insecure = { [oauth.allowInsecureRequests]: true } as const;

beforeAll(async () => {
  service = await startService();
  const issuer = new URL(service.issuer);
  const response = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure });
  as = await oauth.processDiscoveryResponse(issuer, response);
});

async function tokenFor(parameters: Record<string, string>): Promise<oauth.TokenEndpointResponse> {
  const client = { client_id: service.agent.id };
  const authentication = oauth.ClientSecretBasic(service.agent.secret);
  const response = await oauth.clientCredentialsGrantRequest(
    as,
    client,
    authentication,
    parameters,
    insecure,
  );
  return oauth.processClientCredentialsResponse(as, client, response);
}

/** Validates a token as a protected resource does. */
function validate(token: string, audience: string): Promise<oauth.JWTAccessTokenClaims> {
  const headers = { authorization: `Bearer ${token}` };
  const request = new Request('http://resource.example/v1', { headers });
  return oauth.validateJwtAccessToken(as, request, audience, insecure);
}

describe('oauth4webapi', () => {
  it("finds the broker's capabilities in the metadata", () => {
    const { issuer } = service;
    expect(as).toMatchObject({
      issuer,
      token_endpoint: `${issuer}/oauth2/token`,
      introspection_endpoint: `${issuer}/oauth2/introspect`,
      revocation_endpoint: `${issuer}/oauth2/revoke`,
      jwks_uri: `${issuer}/oauth2/jwks`,
      grant_types_supported: expect.arrayContaining(['client_credentials']),
    });
  });

  it('validates an access token by RFC 9068, for its own audience only', async () => {
    const { agent, resource, grantId } = service;
    const { access_token: token } = await tokenFor({ resource: resource.identifier, scope: 'read' });
    expect(await validate(token, resource.identifier)).toMatchObject({
      iss: service.issuer,
      sub: agent.id,
      client_id: agent.id,
      scope: 'read',
      grant_id: grantId,
    });
    await expect(validate(token, 'https://other.example')).rejects.toThrow();
    await expect(validate(`${token.slice(0, -8)}AAAAAAAA`, resource.identifier)).rejects.toThrow();
    const { access_token: own } = await tokenFor({});
    await expect(validate(own, resource.identifier)).rejects.toThrow();
  });

  it('introspects a token as its resource server, and revokes it as its agent', async () => {
    const { agent, server, resource } = service;
    const { access_token: token } = await tokenFor({ resource: resource.identifier, scope: 'write' });
    const asServer = { client_id: server.id };
    const asked = async (): Promise<oauth.IntrospectionResponse> => {
      const method = oauth.ClientSecretPost(server.secret);
      const response = await oauth.introspectionRequest(as, asServer, method, token, insecure);
      return oauth.processIntrospectionResponse(as, asServer, response);
    };
    expect(await asked()).toMatchObject({ active: true, scope: 'write', sub: agent.id });
    const method = oauth.ClientSecretBasic(agent.secret);
    const revoked = await oauth.revocationRequest(as, { client_id: agent.id }, method, token, insecure);
    expect(await oauth.processRevocationResponse(revoked)).toBeUndefined();
    expect(await asked()).toEqual({ active: false });
  });

  it('authenticates with its key (private_key_jwt), and gets a valid token', async () => {
    const { keyAgent, resource } = service;
    const { privateKey, kid } = keyAgent.key;
    const der = privateKey.export({ type: 'pkcs8', format: 'der' });
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
    const key = await crypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
    const client = { client_id: keyAgent.id };
    const parameters = { resource: resource.identifier, scope: 'read' };
    const response = await oauth.clientCredentialsGrantRequest(
      as,
      client,
      oauth.PrivateKeyJwt({ key, kid }),
      parameters,
      insecure,
    );
    const { access_token: token } = await oauth.processClientCredentialsResponse(as, client, response);
    expect(await validate(token, resource.identifier)).toMatchObject({ sub: keyAgent.id, scope: 'read' });
  });

  it('exchanges the token of another agent for a bound one, in which a resource server finds both agents', async () => {
    const { agent, keyAgent, resource } = service;
    const { access_token: own } = await tokenFor({ resource: resource.identifier, scope: 'read' });
    const { privateKey, kid } = keyAgent.key;
    const der = privateKey.export({ type: 'pkcs8', format: 'der' });
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
    const key = await crypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
    const client = { client_id: keyAgent.id };
    const parameters = { subject_token: own, subject_token_type: tokenType, requested_token_type: tokenType };
    const DPoP = oauth.DPoP({}, await oauth.generateKeyPair('ES256'));
    const ask = async (): Promise<oauth.TokenEndpointResponse> => {
      const method = oauth.PrivateKeyJwt({ key, kid });
      const options = { ...insecure, DPoP };
      const response = await oauth.genericTokenEndpointRequest(
        as,
        client,
        method,
        exchangeGrant,
        parameters,
        options,
      );
      return oauth.processGenericTokenEndpointResponse(as, client, response);
    };
    const exchanged = await ask().catch((error: unknown) => {
      if (!oauth.isDPoPNonceError(error)) throw error;
      return ask();
    });
    expect(exchanged).toMatchObject({ token_type: 'dpop', issued_token_type: tokenType, scope: 'read' });
    expect(decodeJwt(exchanged.access_token)).toMatchObject({
      sub: agent.id,
      client_id: keyAgent.id,
      act: { sub: keyAgent.id },
      cnf: { jkt: expect.any(String) },
    });
  });

  it('binds a token to a key (DPoP), and validates it at a resource server only with a proof', async () => {
    const { agent, resource } = service;
    const client = { client_id: agent.id };
    const DPoP = oauth.DPoP({}, await oauth.generateKeyPair('ES256'));
    const parameters = { resource: resource.identifier, scope: 'read' };
    const method = oauth.ClientSecretBasic(agent.secret);
    const options = { ...insecure, DPoP };
    const ask = async (): Promise<oauth.TokenEndpointResponse> => {
      const response = await oauth.clientCredentialsGrantRequest(as, client, method, parameters, options);
      return oauth.processClientCredentialsResponse(as, client, response);
    };
    const { access_token: token } = await ask().catch((error: unknown) => {
      if (!oauth.isDPoPNonceError(error)) throw error;
      return ask();
    });
    const proofs: string[] = [];
    const server = await startHttpsServer((request, response) => {
      proofs.push(String(request.headers.dpop));
      response.end('{}');
    });
    const url = new URL(`https://localhost:${server.port}/v1`);
    const dispatcher = new Agent({ connect: { ca: [testCa] } });
    await oauth.protectedResourceRequest(token, 'GET', url, undefined, undefined, {
      DPoP,
      [oauth.customFetch]: (to: string, init: object) => fetch(to, { ...init, dispatcher } as object),
    });
    await dispatcher.close();
    const request = (proof: string) =>
      new Request(url, { headers: { authorization: `DPoP ${token}`, dpop: proof } });
    const check = (proof: string) =>
      oauth.validateJwtAccessToken(as, request(proof), resource.identifier, insecure);
    expect(await check(proofs[0] ?? '')).toMatchObject({ sub: agent.id, cnf: { jkt: expect.any(String) } });
    await expect(check('')).rejects.toThrow();
    await expect(validate(token, resource.identifier)).rejects.toThrow();
  });
});
