import { beforeAll, describe, expect, it } from 'vitest';
import {
  apiOf,
  asBootstrap,
  createAgent,
  createResource,
  oauthPost,
  startBroker,
  type TestBroker,
  testIssuer,
} from '../support/broker.ts';

/**
 * RFC 9728: how a client that knows only a URL finds the authorization server and the resource identifier for its
 * token request.
 */
let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});

const own = '/.well-known/oauth-protected-resource';
const algs = ['ES256', 'ES384', 'ES512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'];
const proofAlgs = [...algs, 'EdDSA', 'Ed25519'];
const anyone = () => apiOf(broker, undefined);
const urlOf = (challenge: string | undefined): string[] =>
  [...(challenge ?? '').matchAll(/resource_metadata="([^"]*)"/g)].map(([, url]) => url ?? '');

describe('the metadata of /v1', () => {
  it('is public, describes what /v1 accepts, and is correct', async () => {
    const { body, headers } = await anyone().get(own).expect(200);
    expect(body).toEqual({
      resource: testIssuer,
      authorization_servers: [testIssuer],
      scopes_supported: ['hallpass'],
      bearer_methods_supported: ['header'],
      resource_name: 'Hallpass',
      resource_documentation: `${testIssuer}/openapi.json`,
      dpop_bound_access_tokens_required: false,
      dpop_signing_alg_values_supported: proofAlgs,
    });
    expect(headers['cache-control']).toBe('public, max-age=300');
    await anyone().get('/openapi.json').expect(200);
  });

  it('names the resource and the scope with which a broker token is requested', async () => {
    const { body } = await anyone().get(own).expect(200);
    const agent = await createAgent(broker);
    const issued = await agent.token({ resource: body.resource }).expect(200);
    expect(issued.body.scope).toBe(body.scopes_supported.join(' '));
    await apiOf(broker, issued.body.access_token).get('/v1/grants').expect(200);
  });

  it('is named by every challenge of a 401, under the configured issuer and not the Host header', async () => {
    const hostile = {
      Host: 'evil.example',
      'X-Forwarded-Host': 'evil.example',
      Forwarded: 'host=evil.example',
    };
    const place = `${testIssuer}${own}`;
    for (const [authorization, challenges] of [
      ['', 2],
      ['Bearer nonsense', 2],
      ['DPoP nonsense', 1],
    ] as const) {
      const asked = anyone().get('/v1/grants').set(hostile);
      const answer = await (authorization === '' ? asked : asked.set('Authorization', authorization)).expect(
        401,
      );
      const named = urlOf(answer.headers['www-authenticate']);
      expect(named).toEqual(Array.from({ length: challenges }, () => place));
    }
    const { text } = await anyone().get(own).set(hostile).expect(200);
    expect(text).not.toContain('evil');
  });

  it('is not named where broker tokens are not accepted: at the token endpoint', async () => {
    const refused = await oauthPost(broker, '/oauth2/token', { grant_type: 'client_credentials' }).expect(
      401,
    );
    expect(urlOf(refused.headers['www-authenticate'])).toEqual([]);
  });
});

describe('the metadata of a resource', () => {
  const read = async (id: string) => {
    const answer = await asBootstrap(broker)
      .get(`/v1/resources/${id}/protected-resource-metadata`)
      .expect(200);
    expect(answer.headers['cache-control']).toBe('no-store');
    return answer.body;
  };

  it.each([
    'https://mcp.example',
    'https://slash.example/',
    'https://mcp.example/tools?tenant=1',
  ])('has its identifier exactly as it is registered: %s', async (identifier) => {
    const { id } = await createResource(broker, { identifier, name: 'Tools' });
    expect(await read(id)).toEqual({
      resource: identifier,
      authorization_servers: [testIssuer],
      scopes_supported: ['read', 'write', 'admin'],
      bearer_methods_supported: ['header'],
      resource_name: 'Tools',
      dpop_bound_access_tokens_required: false,
    });
  });

  it('says whether tokens are bound and with which algorithms, and follows the catalogue', async () => {
    const { id } = await createResource(broker, { require_bound_tokens: true });
    expect(await read(id)).toMatchObject({
      dpop_bound_access_tokens_required: true,
      dpop_signing_alg_values_supported: proofAlgs,
    });
    const scopes = [{ name: 'models:write', description: 'Replace models', risk: 'high' }];
    await asBootstrap(broker)
      .patch(`/v1/resources/${id}`, { scopes, require_bound_tokens: false })
      .expect(200);
    const changed = await read(id);
    expect(changed).toMatchObject({
      scopes_supported: ['models:write'],
      dpop_bound_access_tokens_required: false,
    });
    expect(changed).not.toHaveProperty('dpop_signing_alg_values_supported');
  });

  it('names the types of authorization details that it accepts', async () => {
    const { id } = await createResource(broker, { authorization_details_types: [{ type: 'llm' }] });
    expect(await read(id)).toMatchObject({ authorization_details_types_supported: ['llm'] });
  });

  it('contains nothing about permissions: neither risks nor labels nor secrets', async () => {
    const { id } = await createResource(broker, { labels: ['inner-circle'] });
    await asBootstrap(broker).post(`/v1/resources/${id}/secrets`).expect(201);
    expect(JSON.stringify(await read(id))).not.toMatch(/risk|inner-circle|secret|grant/);
  });
});
