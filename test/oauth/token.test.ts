import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  apiOf,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  oauthPost,
  startBroker,
  type TestAgent,
  type TestBroker,
  testIssuer,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { basicAuth, eventsOf, grantTo, permitAll, postRaw, tokenOf } from './fixtures.ts';

let broker: TestBroker;
let agent: TestAgent;
const clock = new FakeClock();
const seconds = (): number => Math.floor(clock.now().getTime() / 1000);
const fromNow = (s: number): string => new Date(clock.now().getTime() + s * 1000).toISOString();

beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, permitAll);
  agent = await createAgent(broker);
});

/** Verifies a token with a library that is not ours. Returns the claims. */
async function verify(token: string, alg: string, audience: string) {
  const { body } = await apiOf(broker, undefined).get('/oauth2/jwks').expect(200);
  const options = {
    issuer: testIssuer,
    audience,
    typ: 'at+jwt',
    algorithms: [alg],
    currentDate: clock.now(),
  };
  return jwtVerify(token, createLocalJWKSet(body), options);
}

describe('a broker token', () => {
  it('is the response to a request without a resource, and has exactly the expected claims', async () => {
    const { body, headers } = await agent.token().expect(200);
    expect(body).toEqual({
      access_token: body.access_token,
      token_type: 'Bearer',
      expires_in: 300,
      scope: 'hallpass',
    });
    expect(headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
    const { payload, protectedHeader } = await verify(body.access_token, 'ES256', testIssuer);
    expect(protectedHeader).toEqual({ typ: 'at+jwt', alg: 'ES256', kid: expect.stringMatching(/^key_/) });
    expect(payload).toEqual({
      iss: testIssuer,
      sub: agent.id,
      aud: testIssuer,
      client_id: agent.id,
      iat: seconds(),
      exp: seconds() + 300,
      jti: expect.stringMatching(/^tok_/),
      scope: 'hallpass',
    });
  });

  it.each([
    { resource: testIssuer },
    { resource: `${testIssuer}/` },
    { resource: testIssuer, scope: 'hallpass' },
    { resource: '', scope: '', grant_id: '', client_assertion: '', claims: '' },
    { nobody: 'knows this' },
  ])('is what a client gets that asks for the issuer, or for nothing in other words: %j', async (form) => {
    const { body } = await agent.token(form as Record<string, string>).expect(200);
    expect(decodeJwt(body.access_token)).toMatchObject({ aud: testIssuer, scope: 'hallpass' });
    expect(body.grant_id).toBeUndefined();
  });
});

describe('an access token', () => {
  it.each([
    'ES256',
    'RS256',
    'EdDSA',
  ])('that is signed with %s has exactly the claims it should', async (alg) => {
    const resource = await createResource(broker, { token_alg: alg, token_ttl_seconds: 120 });
    const grant_id = await grantTo(agent, resource, { scopes: ['read', 'write'] });
    const { body } = await agent
      .token({ resource: resource.identifier, scope: 'write read write' })
      .expect(200);
    expect(body).toEqual({
      access_token: body.access_token,
      token_type: 'Bearer',
      expires_in: 120,
      scope: 'write read',
      grant_id,
    });
    const { payload, protectedHeader } = await verify(body.access_token, alg, resource.identifier);
    expect(protectedHeader).toEqual({ typ: 'at+jwt', alg, kid: expect.stringMatching(/^key_/) });
    expect(payload).toEqual({
      iss: testIssuer,
      sub: agent.id,
      aud: resource.identifier,
      client_id: agent.id,
      iat: seconds(),
      exp: seconds() + 120,
      jti: expect.stringMatching(/^tok_/),
      scope: 'write read',
      grant_id,
    });
  });

  it.each([
    ['https://slash-1.example', 'https://slash-1.example/'],
    ['https://slash-2.example/v1/', 'https://slash-2.example/v1'],
  ])('for %s has that as audience also if %s is asked for', async (identifier, asked) => {
    const resource = await createResource(broker, { identifier });
    await grantTo(agent, resource);
    for (const spelling of [identifier, asked, identifier, asked]) {
      const token = await tokenOf(agent, { resource: spelling, scope: 'read' });
      expect(decodeJwt(token).aud).toBe(identifier);
    }
  });

  it('has its row, and an audit event with subject, scope and expiry but no part of the token', async () => {
    const resource = await createResource(broker);
    const grant_id = await grantTo(agent, resource);
    const response = await agent.token({ resource: resource.identifier, scope: 'read' }).expect(200);
    const token = response.body.access_token;
    const { jti, exp } = decodeJwt(token);
    const { kid } = decodeProtectedHeader(token);
    const { rows } = await broker.database.owner.query(
      `select t.jti, t.agent_id, t.grant_id, t.resource_id, t.scopes, t.kid, t.auth_method,
              extract(epoch from t.exp)::integer as exp, e.request_id, e.source_ip, e.details
         from tokens t join audit_events e on e.object_id = t.jti and e.type = 'token.issued'
        where t.jti = $1`,
      [jti],
    );
    const { headers } = response;
    const common = {
      jti,
      agent_id: agent.id,
      grant_id,
      resource_id: resource.id,
      scopes: ['read'],
      kid,
      exp,
    };
    const details = { scope: 'read', exp, kid, auth_method: 'client_secret_basic' };
    const from = { request_id: headers['x-request-id'], source_ip: '127.0.0.1', details };
    expect(rows).toEqual([{ ...common, auth_method: 'client_secret_basic', ...from }]);
    const [, claims = '', signature = ''] = token.split('.');
    const record = JSON.stringify(rows);
    expect(record).not.toContain(claims);
    expect(record).not.toContain(signature);
  });
});

describe('the grant of an access token', () => {
  it('must be the only active one if the request has no scope, with all its scopes', async () => {
    const resource = await createResource(broker);
    const form = { resource: resource.identifier };
    const first = await grantTo(agent, resource, { scopes: ['read', 'write'] });
    for (let i = 0; i < 2; i += 1) {
      expect((await agent.token(form).expect(200)).body).toMatchObject({
        scope: 'read write',
        grant_id: first,
      });
    }
    const second = await grantTo(agent, resource, { scopes: ['admin'] });
    expect((await agent.token(form).expect(400)).body.error).toBe('invalid_scope');
    const pinned = await agent.token({ ...form, grant_id: second }).expect(200);
    expect(pinned.body).toMatchObject({ scope: 'admin', grant_id: second });
    await asBootstrap(broker).post(`/v1/grants/${second}/revoke`, { reason: 'done' }).expect(200);
    expect((await agent.token(form).expect(200)).body.grant_id).toBe(first);
  });

  it('is the one that expires last, then the newest, even if it was created after a token was minted', async () => {
    const resource = await createResource(broker);
    const form = { resource: resource.identifier, scope: 'read' };
    const minted = async (): Promise<string> => (await agent.token(form).expect(200)).body.grant_id;
    const short = await grantTo(agent, resource, { duration_seconds: 600 });
    expect(await minted()).toBe(short);
    const long = await grantTo(agent, resource, { duration_seconds: 3600, scopes: ['read', 'write'] });
    expect(await minted()).toBe(long);
    await grantTo(agent, resource, { duration_seconds: 900 });
    await grantTo(agent, resource, { duration_seconds: 7200, scopes: ['write'] });
    expect(await minted()).toBe(long);
    clock.advance(1);
    const newest = await grantTo(agent, resource, { duration_seconds: 3599 });
    expect(await minted()).toBe(newest);
    await asBootstrap(broker).post(`/v1/grants/${newest}/revoke`, { reason: 'done' }).expect(200);
    expect(await minted()).toBe(long);
  });

  it('is the pinned one, for all or some of its scopes', async () => {
    const resource = await createResource(broker);
    const pinned = await grantTo(agent, resource, { scopes: ['read', 'write'], duration_seconds: 60 });
    await grantTo(agent, resource, { scopes: ['read', 'write'], duration_seconds: 3600 });
    const form = { resource: resource.identifier, grant_id: pinned };
    expect((await agent.token(form).expect(200)).body).toMatchObject({
      scope: 'read write',
      grant_id: pinned,
    });
    expect((await agent.token({ ...form, scope: 'write' }).expect(200)).body).toMatchObject({
      scope: 'write',
      grant_id: pinned,
    });
  });
});

describe('an access token ends', () => {
  it('with its grant', async () => {
    const resource = await createResource(broker, { token_ttl_seconds: 900 });
    await grantTo(agent, resource, { duration_seconds: 1000 });
    const form = { resource: resource.identifier, scope: 'read' };
    const lifetimes: number[] = [];
    for (const step of [0, 99.5, 0.5, 400, 499.001, 0.999]) {
      clock.advance(step);
      const { body } = await agent.token(form);
      lifetimes.push(body.expires_in ?? body.error);
    }
    expect(lifetimes).toEqual([900, 900, 900, 500, 1, 'invalid_target']);
  });

  it('with its agent, whose expiry may be moved to an earlier or later time', async () => {
    const mortal = await createAgent(broker, { expires_at: fromNow(3600) });
    const resource = await createResource(broker);
    await grantTo(mortal, resource, { duration_seconds: 1800 });
    const form = { resource: resource.identifier, scope: 'read' };
    const lifetimes = async (): Promise<number[]> => [
      (await mortal.token().expect(200)).body.expires_in,
      (await mortal.token(form).expect(200)).body.expires_in,
    ];
    const moveEnd = (s: number) =>
      asBootstrap(broker)
        .patch(`/v1/agents/${mortal.id}`, { expires_at: fromNow(s) })
        .expect(200);
    expect(await lifetimes()).toEqual([300, 300]);
    await moveEnd(60.5);
    expect(await lifetimes()).toEqual([60, 60]);
    clock.advance(59.9);
    await moveEnd(3600);
    expect(await lifetimes()).toEqual([300, 300]);
    await moveEnd(0.05);
    for (const request of [{}, form]) await mortal.token(request).expect(401);
    await moveEnd(3600);
    clock.advance(3600);
    await mortal.token().expect(401);
  });
});

describe('client authentication', () => {
  it('may be Basic with both parts form-encoded, with or without the same client_id in the body', async () => {
    const encode = (text: string): string =>
      [...text].map((c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`).join('');
    const encoded = basicAuth({ id: encode(agent.id), secret: encode(agent.secret) });
    await postRaw(broker, 'grant_type=client_credentials', encoded).expect(200);
    await postRaw(broker, `grant_type=client_credentials&client_id=${agent.id}`, encoded).expect(200);
  });

  it('may be in the body for any registered secret method, and the method used is recorded', async () => {
    const form = { grant_type: 'client_credentials', client_id: agent.id, client_secret: agent.secret };
    const { headers } = await oauthPost(broker, '/oauth2/token', form).expect(200);
    const issued = await eventsOf(broker.database, 'token.issued');
    const event = issued.find(({ request_id }) => request_id === headers['x-request-id']);
    expect(event?.details).toMatchObject({ auth_method: 'client_secret_post' });
  });
});
