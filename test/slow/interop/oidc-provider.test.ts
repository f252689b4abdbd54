import type { RequestListener } from 'node:http';
import { decodeJwt } from 'jose';
import Provider from 'oidc-provider';
import { Agent, request } from 'undici';
import { beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/platform/clock.ts';
import { startHttpsServer, testCa } from '../../outbound/https-server.ts';
import { asBootstrap, createPerson, oauthPost, startBroker, type TestBroker } from '../../support/broker.ts';
import { createKey } from '../../support/key-agent.ts';
import { createTestOutbound } from '../../support/test-issuer.ts';

/** Tests with an independent issuer that is found by discovery: oidc-provider, whose ID tokens identify a workload. */
let broker: TestBroker;
let issuer: string;
let provider: Provider;
const bearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

beforeAll(async () => {
  broker = await startBroker({ clock: systemClock, overrides: { outbound: createTestOutbound() } });
  let callback: RequestListener = (_request, response) => response.end();
  const server = await startHttpsServer((request, response) => callback(request, response));
  issuer = `https://localhost:${server.port}`;
  const { privateKey, kid } = createKey();
  const jwk = { ...privateKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' };
  provider = new Provider(issuer, {
    jwks: { keys: [jwk] },
    clients: [
      {
        client_id: 'hallpass',
        client_secret: 'a-secret-of-the-platform',
        grant_types: ['urn:openid:params:grant-type:ciba'],
        response_types: [],
        redirect_uris: [],
        backchannel_token_delivery_mode: 'poll',
        id_token_signed_response_alg: 'ES256',
      },
    ],
    features: {
      devInteractions: { enabled: false },
      ciba: {
        enabled: true,
        deliveryModes: ['poll'],
        processLoginHint: async (_ctx: unknown, hint: string) => hint,
        verifyUserCode: async () => {},
        validateRequestContext: async () => {},
        validateBindingMessage: async () => {},
        triggerAuthenticationDevice: async () => {},
      },
    },
    findAccount: async (_ctx: unknown, id: string) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  });
  callback = provider.callback();
});

async function idTokenOf(workload: string): Promise<string> {
  const form = new URLSearchParams({
    client_id: 'hallpass',
    client_secret: 'a-secret-of-the-platform',
    scope: 'openid',
    login_hint: workload,
  });
  const post = (path: string, body: URLSearchParams) =>
    requestOf(`${issuer}${path}`, body) as Promise<Record<string, string>>;
  const { auth_req_id = '' } = await post('/backchannel', form);
  const asked = await provider.BackchannelAuthenticationRequest.find(auth_req_id);
  const grant = new provider.Grant({ clientId: 'hallpass', accountId: workload });
  grant.addOIDCScope('openid');
  await provider.backchannelResult(asked, await grant.save());
  form.set('grant_type', 'urn:openid:params:grant-type:ciba');
  form.set('auth_req_id', auth_req_id);
  const { id_token = '' } = await post('/token', form);
  return id_token;
}

/** Posts a form to the platform, over https with the certificate authority of the tests. */
async function requestOf(url: string, body: URLSearchParams): Promise<unknown> {
  const agent = new Agent({ connect: { ca: [testCa] } });
  const answer = await request(url, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: body.toString(),
    dispatcher: agent,
  });
  const json = await answer.body.json();
  await agent.close();
  return json;
}

describe('oidc-provider as the platform of a workload', () => {
  it('is discovered, and its ID token authenticates the agent; that of another workload does not', async () => {
    const trusted = await asBootstrap(broker)
      .post('/v1/trusted-issuers', { name: 'platform', issuer, audience: 'hallpass' })
      .expect(201);
    const created = await asBootstrap(broker)
      .post('/v1/agents', {
        name: 'workload',
        environment: 'production',
        owner: (await createPerson(broker)).id,
        token_endpoint_auth_method: 'federated_jwt',
        identity: { trusted_issuer_id: trusted.body.id, subject: 'workload-1' },
      })
      .expect(201);
    const assertion = await idTokenOf('workload-1');
    const form = { grant_type: bearer, assertion };
    const issued = await oauthPost(broker, '/oauth2/token', form).expect(200);
    expect(decodeJwt(issued.body.access_token)).toMatchObject({ sub: created.body.id, scope: 'hallpass' });
    const other = await idTokenOf('workload-2');
    await oauthPost(broker, '/oauth2/token', { ...form, assertion: other }).expect(400);
  });
});
