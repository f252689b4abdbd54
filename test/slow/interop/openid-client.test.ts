import * as client from 'openid-client';
import { beforeAll, describe, expect, it } from 'vitest';
import { createAgent } from '../../support/broker.ts';
import { type Service, startService } from './broker.ts';

let service: Service;
beforeAll(async () => {
  service = await startService();
});

function discover(who: { id: string; secret: string }, authentication: client.ClientAuth) {
  const options = { algorithm: 'oauth2' as const, execute: [client.allowInsecureRequests] };
  return client.discovery(new URL(service.issuer), who.id, undefined, authentication, options);
}

describe('openid-client', () => {
  it.each([
    ['client_secret_basic', client.ClientSecretBasic],
    ['client_secret_post', client.ClientSecretPost],
  ])('discovers the broker, then gets, introspects and revokes a token for a resource, with %s', async (_, method) => {
    const { agent, resource, grantId } = service;
    const config = await discover(agent, method(agent.secret));
    const parameters = { resource: resource.identifier, scope: 'read' };
    const tokens = await client.clientCredentialsGrant(config, parameters);
    expect(tokens).toMatchObject({ token_type: 'bearer', scope: 'read', expires_in: 300, grant_id: grantId });
    const before = await client.tokenIntrospection(config, tokens.access_token);
    expect(before).toMatchObject({ active: true, client_id: agent.id, aud: resource.identifier });
    await client.tokenRevocation(config, tokens.access_token);
    expect(await client.tokenIntrospection(config, tokens.access_token)).toEqual({ active: false });
  });

  it('authenticates with its key (private_key_jwt), then gets, introspects and revokes a token', async () => {
    const { keyAgent, resource } = service;
    const { privateKey, kid } = keyAgent.key;
    const key = await crypto.subtle.importKey(
      'pkcs8',
      privateKey.export({ type: 'pkcs8', format: 'der' }),
      { name: 'ECDSA', namedCurve: 'P-256' },
      false,
      ['sign'],
    );
    const config = await discover({ id: keyAgent.id, secret: '' }, client.PrivateKeyJwt({ key, kid }));
    const tokens = await client.clientCredentialsGrant(config, {
      resource: resource.identifier,
      scope: 'read',
    });
    expect(await client.tokenIntrospection(config, tokens.access_token)).toMatchObject({
      active: true,
      client_id: keyAgent.id,
    });
    await client.tokenRevocation(config, tokens.access_token);
    expect(await client.tokenIntrospection(config, tokens.access_token)).toEqual({ active: false });
  });

  it('binds a token to a key (DPoP), gets the nonce automatically, and sends the token to the broker', async () => {
    const { agent, resource, issuer } = service;
    const config = await discover(agent, client.ClientSecretBasic(agent.secret));
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'));
    const parameters = { resource: resource.identifier, scope: 'read' };
    const tokens = await client.clientCredentialsGrant(config, parameters, { DPoP });
    expect(tokens.token_type).toBe('dpop');
    expect(await client.tokenIntrospection(config, tokens.access_token)).toMatchObject({
      active: true,
      token_type: 'DPoP',
      cnf: { jkt: await DPoP.calculateThumbprint() },
    });
    const own = await client.clientCredentialsGrant(config, {}, { DPoP });
    const url = new URL(`${issuer}/v1/grants`);
    const call = () =>
      client.fetchProtectedResource(config, own.access_token, url, 'GET', null, undefined, { DPoP });
    for (let n = 0; n < 2; n += 1) expect((await call()).status).toBe(200);
  });

  it('finds the same metadata at the OpenID location', async () => {
    const { agent, issuer } = service;
    const execute = [client.allowInsecureRequests];
    const config = await client.discovery(new URL(issuer), agent.id, agent.secret, undefined, { execute });
    const oauth2 = await discover(agent, client.ClientSecretBasic(agent.secret));
    expect(config.serverMetadata()).toMatchObject({
      ...oauth2.serverMetadata(),
      subject_types_supported: ['public'],
    });
    expect((await client.clientCredentialsGrant(config)).scope).toBe('hallpass');
  });

  it('introspects a token as a resource server', async () => {
    const { agent, server, resource } = service;
    const config = await discover(agent, client.ClientSecretBasic(agent.secret));
    const { access_token } = await client.clientCredentialsGrant(config, { resource: resource.identifier });
    const asServer = await discover(server, client.ClientSecretBasic(server.secret));
    expect(await client.tokenIntrospection(asServer, access_token)).toMatchObject({
      active: true,
      scope: 'read write',
    });
  });

  it('understands every refusal', async () => {
    const { agent, resource } = service;
    const config = await discover(agent, client.ClientSecretBasic(agent.secret));
    const wrong = await discover(agent, client.ClientSecretBasic('wrong'));
    const refusal = { error: 'invalid_scope', status: 400, error_description: expect.any(String) };
    const wider = { resource: resource.identifier, scope: 'admin' };
    await expect(client.clientCredentialsGrant(config, wider)).rejects.toMatchObject(refusal);
    const bare = { scope: 'read' };
    await expect(client.clientCredentialsGrant(config, bare)).rejects.toMatchObject({
      error: 'invalid_target',
    });
    const challenge = { cause: [{ scheme: 'basic', parameters: { realm: 'hallpass' } }], status: 401 };
    await expect(client.clientCredentialsGrant(wrong)).rejects.toMatchObject(challenge);
  });

  it('exchanges the token of another agent for a narrower one of its own, which ends with it', async () => {
    const { agent, resource, issuer } = service;
    const parent = await discover(agent, client.ClientSecretBasic(agent.secret));
    const own = await client.clientCredentialsGrant(parent, {
      resource: resource.identifier,
      scope: 'read write',
    });
    const helper = await createAgent({ url: issuer });
    const config = await discover(helper, client.ClientSecretBasic(helper.secret));
    const exchanged = await client.genericGrantRequest(
      config,
      'urn:ietf:params:oauth:grant-type:token-exchange',
      {
        subject_token: own.access_token,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        scope: 'read',
      },
    );
    expect(exchanged).toMatchObject({
      scope: 'read',
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    });
    expect(await client.tokenIntrospection(config, exchanged.access_token)).toMatchObject({
      active: true,
      sub: agent.id,
      client_id: helper.id,
      act: { sub: helper.id },
    });
    await client.tokenRevocation(parent, own.access_token);
    expect(await client.tokenIntrospection(config, exchanged.access_token)).toEqual({ active: false });
  });
});
