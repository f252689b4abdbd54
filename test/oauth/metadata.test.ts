import { beforeAll, describe, expect, it } from 'vitest';
import { parseIssuer } from '../../src/platform/issuer.ts';
import { apiOf, oauthPost, startBroker, type TestBroker, testIssuer } from '../support/broker.ts';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});

describe('an issuer', () => {
  it.each([
    'https://hallpass.example',
    'https://hallpass.example:8443',
    'http://127.0.0.1:8080',
    'http://localhost',
    'http://[::1]:8080',
  ])('may be %s', (text) => expect(parseIssuer(text)).toBe(text));

  it.each([
    'https://hallpass.example/',
    'https://hallpass.example/v1',
    'https://hallpass.example?x',
    'https://hallpass.example#x',
    'https://hallpass.example:443',
    'https://Hallpass.example',
    'https://user@hallpass.example',
    'http://hallpass.example',
    'http://127.0.0.1.example',
    'http://0.0.0.0',
    'ftp://hallpass.example',
    ' https://hallpass.example',
    'hallpass.example',
    '',
  ])('is not %j', (text) => expect(parseIssuer(text)).toBeUndefined());
});

describe('the metadata', () => {
  it('is the same at both well-known paths, is public, and is true', async () => {
    const anyone = apiOf(broker, undefined);
    const { body, headers } = await anyone.get('/.well-known/oauth-authorization-server').expect(200);
    const methods = ['client_secret_basic', 'client_secret_post', 'private_key_jwt'];
    const families = ['ES256', 'ES384', 'ES512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
    const algs = [...families, 'EdDSA', 'Ed25519'];
    expect(body).toEqual({
      issuer: testIssuer,
      authorization_endpoint: `${testIssuer}/oauth2/authorize`,
      token_endpoint: `${testIssuer}/oauth2/token`,
      token_endpoint_auth_methods_supported: methods,
      token_endpoint_auth_signing_alg_values_supported: algs,
      introspection_endpoint: `${testIssuer}/oauth2/introspect`,
      introspection_endpoint_auth_methods_supported: methods,
      introspection_endpoint_auth_signing_alg_values_supported: algs,
      revocation_endpoint: `${testIssuer}/oauth2/revoke`,
      revocation_endpoint_auth_methods_supported: methods,
      revocation_endpoint_auth_signing_alg_values_supported: algs,
      dpop_signing_alg_values_supported: algs,
      authorization_details_types_supported: ['llm'],
      jwks_uri: `${testIssuer}/oauth2/jwks`,
      grant_types_supported: [
        'client_credentials',
        'urn:ietf:params:oauth:grant-type:jwt-bearer',
        'urn:ietf:params:oauth:grant-type:token-exchange',
      ],
      response_types_supported: ['none'],
      service_documentation: `${testIssuer}/openapi.json`,
    });
    expect(headers['cache-control']).toBe('public, max-age=300');
    expect((await anyone.get('/.well-known/openid-configuration').expect(200)).body).toEqual({
      ...body,
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256', 'RS256', 'EdDSA'],
    });
  });

  it('has no empty array (RFC 8414 section 3.2)', async () => {
    const { body } = await apiOf(broker, undefined).get('/.well-known/openid-configuration').expect(200);
    for (const [name, value] of Object.entries(body))
      if (Array.isArray(value)) expect(value, name).not.toEqual([]);
  });

  it.each([
    '/.well-known/oauth-authorization-server',
    '/.well-known/openid-configuration',
    '/.well-known/oauth-protected-resource',
    '/oauth2/jwks',
  ])('may be read by a script of any origin, as what else is public: %s', async (path) => {
    const { headers } = await apiOf(broker, undefined)
      .get(path)
      .set('Origin', 'https://app.example')
      .expect(200);
    expect(headers['access-control-allow-origin']).toBe('*');
  });

  it('is the only thing that a script of another origin may read', async () => {
    const { headers } = await apiOf(broker, undefined).get('/v1/agents').set('Origin', 'https://app.example');
    expect(headers).not.toHaveProperty('access-control-allow-origin');
  });

  it('does not take the issuer from the Host header', async () => {
    const hostile = {
      Host: 'evil.example',
      'X-Forwarded-Host': 'evil.example',
      Forwarded: 'host=evil.example',
    };
    const anyone = apiOf(broker, undefined);
    const { text } = await anyone.get('/.well-known/oauth-authorization-server').set(hostile).expect(200);
    expect(text).not.toContain('evil');
  });

  it('names only endpoints that exist', async () => {
    const anyone = apiOf(broker, undefined);
    const { body } = await anyone.get('/.well-known/oauth-authorization-server').expect(200);
    const pathOf = (url: string): string => new URL(url).pathname;
    await anyone.get(pathOf(body.jwks_uri)).expect(200);
    await anyone.get(pathOf(body.service_documentation)).expect(200);
    for (const endpoint of [body.token_endpoint, body.introspection_endpoint, body.revocation_endpoint]) {
      await oauthPost(broker, pathOf(endpoint), { token: 'x' }).expect(401);
    }
  });
});

describe('the JWKS', () => {
  it('has public members only', async () => {
    const { body } = await apiOf(broker, undefined).get('/oauth2/jwks').expect(200);
    const allowed = new Set(['kty', 'crv', 'x', 'y', 'n', 'e', 'kid', 'alg', 'use']);
    for (const key of body.keys) expect(Object.keys(key).filter((name) => !allowed.has(name))).toEqual([]);
  });
});
