import { createRemoteJWKSet, jwtVerify } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  grantRequest,
  oauthPost,
  readAtOnce,
  startBroker,
  type TestBroker,
  testIssuer,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

let broker: TestBroker;
const clock = new FakeClock();
beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, readAtOnce);
});

describe('the one flow', () => {
  it('policy permits, a token is minted, verified offline and by introspection, and ends with its grant', async () => {
    const agent = await createAgent(broker);
    const resource = await createResource(broker);
    const api = await agent.api();
    const granted = await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
    expect(granted.body).toMatchObject({ status: 'active', scopes: ['read'], agent_id: agent.id });

    const issued = await agent.token({ resource: resource.identifier, scope: 'read' }).expect(200);
    expect(issued.body).toMatchObject({
      token_type: 'Bearer',
      expires_in: 300,
      scope: 'read',
      grant_id: granted.body.id,
    });
    const jwks = createRemoteJWKSet(new URL(`${broker.url}/oauth2/jwks`));
    const { payload } = await jwtVerify(issued.body.access_token, jwks, {
      issuer: testIssuer,
      audience: resource.identifier,
      typ: 'at+jwt',
      algorithms: ['ES256'],
      currentDate: clock.now(),
    });
    expect(payload).toMatchObject({
      sub: agent.id,
      client_id: agent.id,
      scope: 'read',
      grant_id: granted.body.id,
    });

    const secret = await asBootstrap(broker).post(`/v1/resources/${resource.id}/secrets`).expect(201);
    const server = { id: resource.id, secret: secret.body.client_secret };
    const token = issued.body.access_token;
    const active = await oauthPost(broker, '/oauth2/introspect', { token }, server).expect(200);
    expect(active.body).toMatchObject({ active: true, scope: 'read', sub: agent.id });

    clock.advance(601);
    const after = await oauthPost(broker, '/oauth2/introspect', { token }, server).expect(200);
    expect(after.body).toEqual({ active: false });
    const refused = await agent.token({ resource: resource.identifier, scope: 'read' }).expect(400);
    expect(refused.body.error).toBe('invalid_target');
    const shown = await (await agent.api()).get(`/v1/grants/${granted.body.id}`).expect(200);
    expect(shown.body.status).toBe('expired');
  });

  it('people decide, and the agent gets exactly the terms that they approved', async () => {
    const agent = await createAgent(broker);
    const resource = await createResource(broker);
    const approver = await createPerson(broker, { roles: ['approver'] });
    const api = await agent.api();
    const pending = await api
      .post('/v1/grants', grantRequest(resource.identifier, { scopes: ['read', 'write'] }))
      .expect(202);
    expect(pending.body).toMatchObject({ status: 'pending', decision: { approvals_required: 1 } });
    await agent.token({ resource: resource.identifier, scope: 'write' }).expect(400);
    const { request_digest } = pending.body;
    await approver.api.post(`/v1/grants/${pending.body.id}/approve`, {}).expect(428);
    await approver.api.post(`/v1/grants/${pending.body.id}/approve`, { request_digest: 'x' }).expect(412);
    const approved = await approver.api
      .post(`/v1/grants/${pending.body.id}/approve`, {
        request_digest,
        scopes: ['write'],
        duration_seconds: 60,
        note: 'ok',
      })
      .expect(200);
    expect(approved.body).toMatchObject({ status: 'active', scopes: ['write'], duration_seconds: 60 });
    expect(approved.body.decision.approvals).toMatchObject([{ by: approver.id, note: 'ok' }]);
    const issued = await agent.token({ resource: resource.identifier, scope: 'write' }).expect(200);
    expect(issued.body.expires_in).toBe(60);
    const wider = await agent.token({ resource: resource.identifier, scope: 'read write' }).expect(400);
    expect(wider.body.error).toBe('invalid_scope');
  });
});
