import { beforeAll, describe, expect, it } from 'vitest';
import { insertCopies } from '../../grants/copies.ts';
import { asBootstrap, grantRequest, type TestAgent } from '../../support/broker.ts';
import { parallel, tally } from '../../support/count.ts';
import { eventsOf } from '../fixtures.ts';
import { createExchangeScene, type ExchangeScene, exchangeGrant, tokenType } from './exchange-scene.ts';

/** RFC 8693: an agent delegates a narrower right to another agent. */
let scene: ExchangeScene;
let parent: TestAgent;
let child: TestAgent;
beforeAll(async () => {
  scene = await createExchangeScene();
  parent = await scene.agent();
  child = await scene.agent();
});

describe('a token obtained in exchange for another agent’s token', () => {
  it('has the first agent as subject, names the actor, and has its own delegated grant', async () => {
    const { grantId, token } = await scene.holding(parent);
    const { body } = await scene.exchange(child, token).expect(200);
    expect(body).toMatchObject({
      token_type: 'Bearer',
      issued_token_type: tokenType('access_token'),
      scope: 'read write',
      expires_in: 300,
    });
    const claims = scene.claims(body.access_token);
    expect(claims).toMatchObject({
      sub: parent.id,
      act: { sub: child.id },
      client_id: child.id,
      aud: scene.resource.identifier,
      grant_id: body.grant_id,
    });
    expect(claims.act).toEqual({ sub: child.id });
    expect(await scene.introspect(body.access_token)).toMatchObject({ active: true, ...claims });
    const api = await child.api();
    const { body: grant } = await api.get(`/v1/grants/${body.grant_id}`).expect(200);
    expect(grant).toMatchObject({
      status: 'active',
      agent_id: child.id,
      parent_id: grantId,
      delegation: { sub: parent.id, act: { sub: child.id } },
      expires_at: new Date(Number(scene.claims(token).exp) * 1000).toISOString(),
    });
    await (await parent.api()).get(`/v1/grants/${body.grant_id}`).expect(404);
    const events = await eventsOf(scene.broker.database, 'token.issued');
    const delegation = { sub: parent.id, act: { sub: child.id } };
    expect(events.map(({ details }) => details.delegation)).toContainEqual(delegation);
  });

  it('is never wider than the subject token, and never expires later', async () => {
    const llm = { type: 'llm', models: ['small'], actions: ['inference'], max_requests: 5 };
    const { token } = await scene.holding(parent, { authorization_details: [llm] }, { scope: 'read' });
    const { exchange, expectRefused, claims } = scene;
    await expectRefused(exchange(child, token, { scope: 'write' }), 'invalid_scope');
    await expectRefused(exchange(child, token, { scope: 'read write' }), 'invalid_scope');
    await expectRefused(exchange(child, token, { resource: 'https://other.example' }), 'invalid_target');
    await expectRefused(exchange(child, token, { audience: 'https://hallpass.test' }), 'invalid_target');
    const more = JSON.stringify([{ ...llm, max_requests: 6 }]);
    await expectRefused(
      exchange(child, token, { authorization_details: more }),
      'invalid_authorization_details',
    );
    scene.clock.advance(200);
    const less = { ...llm, max_requests: 1 };
    const form = { authorization_details: JSON.stringify([less]), audience: scene.resource.identifier };
    const { body } = await exchange(child, token, form).expect(200);
    expect(body).toMatchObject({ scope: 'read', expires_in: 100, authorization_details: [less] });
    expect(claims(body.access_token)).toMatchObject({
      exp: claims(token).exp,
      authorization_details: [less],
    });
    // Under a delegated grant, no token can be obtained that allows more or lasts longer.
    const pinned = { resource: scene.resource.identifier, grant_id: body.grant_id };
    const again = await child.token(pinned).expect(200);
    expect(claims(again.body.access_token)).toMatchObject({
      sub: parent.id,
      scope: 'read',
      exp: claims(token).exp,
      authorization_details: [less],
    });
    await expectRefused(child.token({ ...pinned, scope: 'write' }), 'invalid_scope');
    await expectRefused(
      child.token({ ...pinned, authorization_details: JSON.stringify([llm]) }),
      'invalid_authorization_details',
    );
  });

  it('can be exchanged again, by up to four actors in a row', async () => {
    const { token } = await scene.holding(parent);
    const agents = await Promise.all([1, 2, 3, 4, 5].map(() => scene.agent()));
    const [, , , fourth, fifth] = agents as [TestAgent, TestAgent, TestAgent, TestAgent, TestAgent];
    let current = token;
    for (const agent of agents.slice(0, 4)) current = await scene.exchanged(agent, current);
    const [a, b, c, d] = agents.map(({ id }) => id);
    expect(scene.claims(current)).toMatchObject({ sub: parent.id, client_id: fourth.id });
    expect(scene.claims(current).act).toEqual({ sub: d, act: { sub: c, act: { sub: b, act: { sub: a } } } });
    await scene.expectRefused(scene.exchange(fifth, current), 'invalid_request', 'maximum number of actors');
  });

  it('is never the response to a plain token request: acting for another agent has to be requested', async () => {
    const other = await scene.agent();
    const { token } = await scene.holding(parent);
    const form = { resource: scene.resource.identifier, scope: 'read' };
    await scene.exchanged(other, token);
    await scene.expectRefused(other.token(form), 'invalid_target');
    const own = await scene.holding(other, { duration_seconds: 60 });
    const plain = await other.token(form).expect(200);
    expect(plain.body.grant_id).toBe(own.grantId);
    expect(scene.claims(plain.body.access_token).sub).toBe(other.id);
    expect((await other.token({ resource: form.resource }).expect(200)).body.grant_id).toBe(own.grantId);
  });

  it('has the same grant when the request is repeated, also by twenty concurrent requests', async () => {
    const { token } = await scene.holding(parent);
    const other = await scene.agent();
    const answers = await parallel(20, (n) =>
      scene.exchange(other, token, {}, n % 2 === 0 ? scene.broker : scene.replica),
    );
    expect(tally(answers)).toEqual({ 200: 20 });
    expect(new Set(answers.map(({ body }) => body.grant_id)).size).toBe(1);
    const narrower = await scene.exchange(other, token, { scope: 'read' }).expect(200);
    expect(narrower.body.grant_id).not.toBe(answers[0]?.body.grant_id);
  });
});

describe('the number of grants that an agent may have', () => {
  it('is counted separately for its own grants and for its delegated grants', async () => {
    const helper = await scene.agent();
    const own = await scene.holding(helper);
    const { owner } = scene.broker.database;
    const { token } = await scene.holding(parent);
    const { body } = await scene.exchange(helper, token).expect(200);
    const copy = { status: 'active', end: 'expires_at' } as const;
    await insertCopies(owner, { ...copy, template: own.grantId, count: 99 });
    const api = await helper.api();
    await api.post('/v1/grants', grantRequest(scene.resource.identifier)).expect(409);
    const other = await scene.holding(parent);
    await scene.exchange(helper, other.token).expect(200);
    await insertCopies(owner, { ...copy, template: body.grant_id, count: 998 });
    const last = await scene.holding(parent);
    const refused = await scene.exchange(helper, last.token).expect(409);
    expect(refused.body.error).toBe('invalid_request');
    expect(refused.headers['retry-after']).toBe('60');
    await helper.token({ resource: scene.resource.identifier, grant_id: own.grantId }).expect(200);
  });
});

describe('an exchange', () => {
  const refusals: [string, Record<string, string>, string][] = [
    ['without a subject token', { subject_token: '' }, 'invalid_request'],
    ['of a text that is not a token', { subject_token: 'x' }, 'invalid_request'],
    ['without the type of the subject token', { subject_token_type: '' }, 'invalid_request'],
    ['with an unknown type', { subject_token_type: tokenType('saml2') }, 'invalid_request'],
    ['for a refresh token', { requested_token_type: tokenType('refresh_token') }, 'invalid_request'],
    ['with an actor token without its type', { actor_token: 'x' }, 'invalid_request'],
    [
      'with the type of an actor token, but without the token',
      { actor_token_type: tokenType('jwt') },
      'invalid_request',
    ],
    [
      'with an actor token that is not a token',
      { actor_token: 'x', actor_token_type: tokenType('jwt') },
      'invalid_request',
    ],
    ['that chooses a grant', { grant_id: 'grt_01kjdw0a5vf8h8v0m6gq3r9x2c' }, 'invalid_request'],
    ['for two resources', { resource: 'https://a.example', audience: 'https://b.example' }, 'invalid_target'],
    ['with claims to be requested', { claims: '{}' }, 'invalid_request'],
    [
      'with a may_act that is not the id of an agent',
      { may_act: 'adm_01kjdw0a5vf8h8v0m6gq3r9x2c' },
      'invalid_request',
    ],
  ];
  it.each(refusals)('is refused %s', async (_, form, error) => {
    const { token } = await scene.holding(parent);
    await scene.expectRefused(scene.exchange(child, token, form), error);
  });

  it('is refused for a broker token, an ended token, and a forged token', async () => {
    const { token } = await scene.holding(parent);
    const broker = (await parent.token().expect(200)).body.access_token as string;
    const form = { resource: scene.resource.identifier };
    await scene.expectRefused(scene.exchange(child, broker, form), 'invalid_request', 'broker token');
    const [head, body, signature] = token.split('.');
    const claims = { ...scene.claims(token), scope: 'read write admin' };
    const forged = [head, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.');
    await scene.expectRefused(scene.exchange(child, forged), 'invalid_request', 'not active');
    expect(body).not.toBe(forged.split('.')[1]);
    scene.clock.advance(299.5);
    expect((await scene.exchange(child, token).expect(200)).body.expires_in).toBe(1);
    scene.clock.advance(1);
    await scene.expectRefused(scene.exchange(child, token), 'invalid_request', 'not active');
  });

  it('is refused to a resource server, and without client authentication for any token of the broker', async () => {
    const { token } = await scene.holding(parent);
    await scene.expectRefused(scene.exchange(undefined, token), 'invalid_request', 'not valid');
    const issued = await asBootstrap(scene.broker)
      .post(`/v1/resources/${scene.resource.id}/secrets`)
      .expect(201);
    const server = { id: scene.resource.id, secret: issued.body.client_secret };
    await scene.expectRefused(scene.exchange(server, token), 'unauthorized_client');
    // A failed client authentication is the error, not the subject token.
    const wrong = await scene.exchange({ ...child, secret: 'wrong' }, token).expect(401);
    expect(wrong.body.error).toBe('invalid_client');
    expect(wrong.headers['www-authenticate']).toContain('Basic');
  });

  it('accepts only an actor token of the client itself', async () => {
    const { token } = await scene.holding(parent);
    const actorOf = async (agent: TestAgent) => ({
      actor_token: (await agent.token().expect(200)).body.access_token as string,
      actor_token_type: tokenType('access_token'),
    });
    await scene.exchange(child, token, await actorOf(child)).expect(200);
    await scene.expectRefused(scene.exchange(child, token, await actorOf(parent)), 'invalid_request');
  });

  it('of the client’s own token narrows it, under the same grant and with the same expiry', async () => {
    const { grantId, token } = await scene.holding(parent);
    scene.clock.advance(100);
    const requested = { requested_token_type: tokenType('jwt') };
    const { body } = await scene.exchange(parent, token, { scope: 'read', ...requested }).expect(200);
    expect(body).toMatchObject({ grant_id: grantId, scope: 'read', expires_in: 200 });
    expect(body.issued_token_type).toBe(tokenType('jwt'));
    expect(scene.claims(body.access_token)).not.toHaveProperty('act');
    await scene.expectRefused(scene.exchange(parent, body.access_token, { scope: 'write' }), 'invalid_scope');
    const ofChild = await scene.exchanged(child, token);
    const narrowed = await scene.exchange(child, ofChild, { scope: 'read' }).expect(200);
    expect(scene.claims(narrowed.body.access_token)).toMatchObject({
      sub: parent.id,
      act: { sub: child.id },
    });
  });

  it('that is refused has one audit event', async () => {
    const { token } = await scene.holding(parent);
    const { database } = scene.broker;
    const before = (await eventsOf(database, 'token.refused')).length;
    await scene.exchange(child, token, { scope: 'admin' }).expect(400);
    const events = await eventsOf(database, 'token.refused');
    expect(events.length).toBe(before + 1);
    expect(events.at(-1)).toMatchObject({ actor_id: child.id, details: { code: 'invalid-scope' } });
  });

  it('is listed in the metadata', async () => {
    const { body } = await asBootstrap(scene.broker)
      .get('/.well-known/oauth-authorization-server')
      .expect(200);
    expect(body.grant_types_supported).toContain(exchangeGrant);
  });
});
