import { beforeAll, describe, expect, it } from 'vitest';
import { eventsOf, expectRefusal } from '../oauth/fixtures.ts';
import { asBootstrap, createPolicy, createResource, grantRequest, oauthPost } from '../support/broker.ts';
import { assertionType, createKey, createKeyAgent } from '../support/key-agent.ts';
import type { Platform } from '../support/test-issuer.ts';
import {
  bearerGrant,
  createFederationScene,
  type FederationScene,
  refusedClient,
  refusedGrant,
} from './federation-scene.ts';

let clock: FederationScene['clock'];
let broker: FederationScene['broker'];
let replica: FederationScene['replica'];
let platform: FederationScene['platform'];
let trusted: FederationScene['trusted'];
let asClient: FederationScene['asClient'];
let asGrant: FederationScene['asGrant'];
let createFederated: FederationScene['createFederated'];
let expectRefused: FederationScene['expectRefused'];
beforeAll(async () => {
  ({ clock, broker, replica, platform, trusted, asClient, asGrant, createFederated, expectRefused } =
    await createFederationScene());
});

describe('the token of a trusted platform', () => {
  it('gets its agent a token, as client assertion and as grant, any number of times', async () => {
    const { id, sub } = await createFederated();
    const token = await platform.token(sub);
    for (const on of [broker, replica]) {
      for (const more of [{}, { client_id: id }]) {
        expect((await asClient(token, more, on).expect(200)).body.scope).toBe('hallpass');
        expect((await asGrant(token, more, on).expect(200)).body.scope).toBe('hallpass');
      }
    }
    const [event] = (await eventsOf(broker.database, 'token.issued')).filter(
      ({ actor_id }) => actor_id === id,
    );
    expect(event?.details).toMatchObject({ auth_method: 'federated_jwt' });
  });

  it('authenticates the agent, and policy sees the method', async () => {
    const cedar =
      'permit(principal, action == Action::"request", resource) when { context.auth_method == "federated_jwt" };';
    await createPolicy(broker, cedar);
    const { sub } = await createFederated();
    const token = await platform.token(sub);
    const resource = await createResource(broker);
    const own = (await asGrant(token).expect(200)).body.access_token;
    const granted = await fetch(`${broker.url}/v1/grants`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${own}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(grantRequest(resource.identifier)),
    });
    expect(granted.status).toBe(201);
    const more = { resource: resource.identifier, scope: 'read' };
    const { access_token } = (await asGrant(token, more).expect(200)).body;
    const asked = { token: access_token, client_assertion: token, client_assertion_type: assertionType };
    expect((await oauthPost(broker, '/oauth2/introspect', asked).expect(200)).body.active).toBe(true);
  });

  it.each<[string, (sub: string) => Parameters<Platform['token']>]>([
    ['another subject', (sub) => [`${sub}x`]],
    ['a subject in upper case', (sub) => [sub.toUpperCase()]],
    ['a part of the subject', (sub) => [sub.slice(0, -1)]],
    ['another audience', (sub) => [sub, { claims: { aud: 'https://other.test' } }]],
    ['an additional audience', (sub) => [sub, { claims: { aud: ['https://hallpass.test', 'x'] } }]],
    ['another issuer', (sub) => [sub, { claims: { iss: 'https://evil.test' } }]],
    ['its issuer with a slash', (sub) => [sub, { claims: { iss: `${platform.issuer}/` } }]],
    ['no exp', (sub) => [sub, { claims: { exp: undefined } }]],
    ['an exp in the past', (sub) => [sub, { claims: { exp: 1 } }]],
    ['the key of another issuer', (sub) => [sub, { key: createKey({ kid: platform.key.kid }) }]],
    ['a key that it brings along', (sub) => [sub, { key: createKey(), header: { jwk: createKey().jwk } }]],
    ['the type of an access token', (sub) => [sub, { header: { typ: 'at+jwt' } }]],
  ])('is refused with %s', async (_, terms) => {
    const { sub } = await createFederated();
    await expectRefused(await platform.token(...terms(sub)));
    await asGrant(await platform.token(sub)).expect(200);
  });

  it('is refused with the client_id of another agent, or with a second client authentication', async () => {
    const [{ sub }, other] = [await createFederated(), await createFederated()];
    const token = await platform.token(sub);
    await expectRefused(token, { client_id: other.id });
    const malformed = { status: 400, error: 'invalid_request' };
    await expectRefusal(broker, asGrant(token, { client_secret: 'x' }), malformed);
    await expectRefusal(broker, asGrant(token, { client_assertion: 'x' }), malformed);
    const none = oauthPost(broker, '/oauth2/token', { grant_type: bearerGrant });
    await expectRefusal(broker, none, malformed);
  });

  it('must match the registered claims of its issuer and its agent exactly', async () => {
    const claims = { environment: 'production', '/nested/id': 7 };
    const { sub } = await createFederated({ claims });
    const good = { environment: 'production', nested: { id: 7 } };
    await asGrant(await platform.token(sub, { claims: good })).expect(200);
    for (const bad of [{}, { ...good, environment: 'production2' }, { ...good, nested: { id: '7' } }]) {
      await expectRefused(await platform.token(sub, { claims: bad }));
    }
    await asBootstrap(broker)
      .patch(`/v1/trusted-issuers/${trusted}`, { claims: { owner: 'octo-org' } })
      .expect(200);
    clock.advance(1);
    await expectRefused(await platform.token(sub, { claims: good }));
    await asGrant(await platform.token(sub, { claims: { ...good, owner: 'octo-org' } })).expect(200);
    await asBootstrap(broker).patch(`/v1/trusted-issuers/${trusted}`, { claims: {} }).expect(200);
    clock.advance(1);
  });

  it('does not authenticate a disabled agent, nor any other', async () => {
    const { id, sub } = await createFederated();
    const token = await platform.token(sub);
    await asGrant(token).expect(200);
    await asBootstrap(broker).post(`/v1/agents/${id}/disable`).expect(200);
    await expectRefused(token);
    await asBootstrap(broker).delete(`/v1/agents/${id}`).expect(204);
    await expectRefused(token);
  });
});

describe('an assertion of an agent with keys', () => {
  it('can also be the grant, and is used once in either form', async () => {
    const agent = await createKeyAgent({ url: broker.url, now: () => clock.now() });
    const assertion = await agent.assert();
    await asGrant(assertion).expect(200);
    await expectRefusal(broker, asGrant(assertion), refusedGrant);
    await expectRefusal(broker, asClient(assertion), refusedClient);
  });
});
