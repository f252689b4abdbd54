import { decodeJwt, SignJWT } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  createServerOf,
  eventsOf,
  failWrites,
  forge,
  grantTo,
  introspect,
  permitAll,
  tokenOf,
} from '../oauth/fixtures.ts';
import {
  agentOf,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  oauthPost,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { parallel } from '../support/count.ts';
import { FakeClock } from '../support/fake-clock.ts';

interface Client {
  id: string;
  secret: string;
}

const clock = new FakeClock();
let broker: TestBroker;
let agent: TestAgent;
let resource: { id: string; identifier: string };
let server: Client;
let grantId: string;
const inactive = { active: false };

beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, permitAll);
  agent = await createAgent(broker);
  resource = await createResource(broker);
  server = await createServerOf(broker, resource);
  grantId = await grantTo(agent, resource, { duration_seconds: 7200 });
});

const accessToken = (): Promise<string> => tokenOf(agent, { resource: resource.identifier, scope: 'read' });
const revoke = (token: string, client: Client) => oauthPost(broker, '/oauth2/revoke', { token }, client);
const revocations = async (): Promise<number> => (await eventsOf(broker.database, 'token.revoked')).length;

/** Makes texts that are not tokens of this server, but each as similar to one as possible. */
async function notTokens(): Promise<string[]> {
  const token = await accessToken();
  const [header = '', claims = '', signature = ''] = token.split('.');
  const none = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url');
  const hs256 = await new SignJWT(decodeJwt(token))
    .setProtectedHeader({ alg: 'HS256', typ: 'at+jwt' })
    .sign(Buffer.alloc(32, 1));
  return [
    'x',
    'a.b.c',
    `${header}.${claims}.`,
    `${header}.${claims}`,
    `${none}.${claims}.`,
    `${none}.${claims}.${signature}`,
    `${token}.${signature}`,
    `${token} `,
    token.slice(0, -1),
    `${header}.${claims}.${signature.split('').reverse().join('')}`,
    hs256,
    'a'.repeat(9000),
    '\u{1f600}',
    await forge(broker.database, token, { jti: 'tok_01kjdw0a5vf8h8v0m6gq3r9x2c' }),
    await forge(broker.database, token, { exp: Number(decodeJwt(token).exp) + 1 }),
    await forge(broker.database, token, { iss: 'https://other.test' }),
  ];
}

describe('introspection', () => {
  it('returns every claim of a token to its own agent and to the resource server that it is for', async () => {
    const token = await accessToken();
    const expected = { active: true, token_type: 'Bearer', ...decodeJwt(token) };
    expect(await introspect(broker, token, agent)).toEqual(expected);
    expect(await introspect(broker, token, server)).toEqual(expected);
    const own = await tokenOf(agent);
    expect(await introspect(broker, own, agent)).toMatchObject({ active: true, scope: 'hallpass' });
  });

  it('answers only {"active":false} for tokens of other clients', async () => {
    const stranger = await createAgent(broker);
    const elsewhere = await createResource(broker);
    await grantTo(stranger, resource);
    await grantTo(agent, elsewhere);
    const foreign: [string, Client][] = [
      [await accessToken(), stranger],
      [await tokenOf(agent), stranger],
      [await tokenOf(stranger, { resource: resource.identifier }), agent],
      [await accessToken(), await createServerOf(broker, elsewhere)],
      [await tokenOf(agent, { resource: elsewhere.identifier }), server],
      [await tokenOf(agent), server],
    ];
    for (const [token, client] of foreign) expect(await introspect(broker, token, client)).toEqual(inactive);
  });

  it('answers only {"active":false} for anything but a token of the broker, also if it has a valid signature but no row', async () => {
    for (const text of await notTokens()) {
      expect(await introspect(broker, text, agent)).toEqual(inactive);
      expect(await introspect(broker, text, server)).toEqual(inactive);
    }
  });

  it('needs a token and client authentication, and is never cached', async () => {
    const token = await accessToken();
    const missing = await oauthPost(broker, '/oauth2/introspect', {}, agent).expect(400);
    expect(missing.body.error).toBe('invalid_request');
    const nobody = await oauthPost(broker, '/oauth2/introspect', { token }).expect(401);
    expect(nobody.body.error).toBe('invalid_client');
    const wrong = await oauthPost(broker, '/oauth2/introspect', { token }, { ...server, secret: 'x' }).expect(
      401,
    );
    expect(wrong.body).toEqual(nobody.body);
    const good = await oauthPost(
      broker,
      '/oauth2/introspect',
      { token, token_type_hint: 'x' },
      server,
    ).expect(200);
    for (const { headers } of [missing, nobody, good]) expect(headers['cache-control']).toBe('no-store');
  });
});

describe('revocation', () => {
  it('ends the token at once, and neither its grant nor any other token', async () => {
    const [token, other] = [await accessToken(), await accessToken()];
    const before = await revocations();
    const answer = await revoke(token, agent).expect(200);
    expect([answer.text, answer.headers['cache-control']]).toEqual(['', 'no-store']);
    expect(await introspect(broker, token, server)).toEqual(inactive);
    expect(await introspect(broker, other, server)).toMatchObject({ active: true });
    expect(await introspect(broker, await accessToken(), server)).toMatchObject({ active: true });
    const grant = await asBootstrap(broker).get(`/v1/grants/${grantId}`).expect(200);
    expect(grant.body.status).toBe('active');
    expect(await revocations()).toBe(before + 1);
  });

  it('of a broker token makes it unusable on /v1', async () => {
    const api = await agent.api();
    const token = await tokenOf(agent);
    await revoke(token, agent).expect(200);
    await api.get('/v1/grants').expect(200);
    const used = await oauthPost(broker, '/oauth2/introspect', { token }, agent);
    expect(used.body).toEqual(inactive);
  });

  it('can be repeated, also concurrently, with one audit event', async () => {
    const token = await accessToken();
    const before = await revocations();
    const answers = await parallel(20, () => revoke(token, agent));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    await revoke(token, agent).expect(200);
    expect(await revocations()).toBe(before + 1);
  });

  it('of another client’s token, or of a text that is not a token, is answered with 200 and does nothing', async () => {
    const token = await accessToken();
    const stranger = await createAgent(broker);
    const before = await revocations();
    const answers = [await revoke(token, stranger)];
    for (const text of await notTokens()) answers.push(await revoke(text, agent));
    for (const { status, text } of answers) expect([status, text]).toEqual([200, '']);
    expect(await introspect(broker, token, server)).toMatchObject({ active: true });
    expect(await revocations()).toBe(before);
  });

  it('is refused to resource servers, with an audit event, and to strangers', async () => {
    const token = await accessToken();
    const refused = await revoke(token, server).expect(400);
    expect(refused.body.error).toBe('unauthorized_client');
    const denials = await eventsOf(broker.database, 'access.denied');
    expect(denials.filter(({ actor_id }) => actor_id === server.id)).toMatchObject([
      { outcome: 'denied', details: { operation: 'revokeToken', code: 'unauthorized-client' } },
    ]);
    await revoke(token, { ...agent, secret: 'x' }).expect(401);
    await oauthPost(broker, '/oauth2/revoke', {}, agent).expect(400);
    expect(await introspect(broker, token, server)).toMatchObject({ active: true });
  });

  it.each([
    ['the token', 'update of revoked_at on tokens', 'true'],
    ['the event', 'insert on audit_events', "new.type = 'token.revoked'"],
  ])('that cannot write %s answers 503, and the token is as it was', async (_, write, when) => {
    const token = await accessToken();
    const before = await revocations();
    const repair = await failWrites(broker.database, write, when);
    try {
      const failed = await revoke(token, agent).expect(503);
      expect(failed.body.error).toBe('temporarily_unavailable');
      expect(failed.headers).toMatchObject({ 'cache-control': 'no-store', 'retry-after': '1' });
      expect(await introspect(broker, token, server)).toMatchObject({ active: true });
    } finally {
      await repair();
    }
    expect(await revocations()).toBe(before);
    await revoke(token, agent).expect(200);
    expect(await introspect(broker, token, server)).toEqual(inactive);
  });

  it('does not need an active grant: an agent may revoke a token whose grant has ended', async () => {
    const other = await createAgent(broker);
    const ended = await grantTo(other, resource);
    const token = await tokenOf(agentOf(broker, other), { resource: resource.identifier });
    await asBootstrap(broker).post(`/v1/grants/${ended}/revoke`, { reason: 'x' }).expect(200);
    await revoke(token, other).expect(200);
  });
});
