import { calculateJwkThumbprint, decodeJwt } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  basicAuth,
  createServerOf,
  dropUsedValues,
  eventsOf,
  expectRefusal,
  formType,
} from '../../oauth/fixtures.ts';
import {
  apiOf,
  asBootstrap,
  createAgent,
  createResource,
  grantRequest,
  oauthPost,
  startBroker,
} from '../../support/broker.ts';
import { createHolder } from '../../support/dpop.ts';
import { send } from '../../support/http.ts';
import { createDpopScene, type DpopScene, tokenPath as path } from './dpop-scene.ts';

const invalid = { status: 400, error: 'invalid_dpop_proof' };
const wantsNonce = { status: 400, error: 'use_dpop_nonce' };
let scene: DpopScene;
let clock: DpopScene['clock'];
let broker: DpopScene['broker'];
let replica: DpopScene['replica'];
let agent: DpopScene['agent'];
let resource: DpopScene['resource'];
let ask: DpopScene['ask'];
let createReady: DpopScene['createReady'];

beforeAll(async () => {
  scene = await createDpopScene();
  ({ clock, broker, replica, agent, resource, ask, createReady } = scene);
});

describe('a token request with a proof', () => {
  it('gets a nonce with the first refusal, and then a token that is bound to its key', async () => {
    const holder = createHolder(clock);
    const first = await expectRefusal(broker, ask(await holder.prove('POST', path)), wantsNonce);
    holder.nonce = first.headers['dpop-nonce'];
    const form = { resource: resource.identifier, scope: 'read' };
    const issued = await ask(await holder.prove('POST', path), form).expect(200);
    const jkt = await calculateJwkThumbprint(holder.key.jwk);
    expect(issued.body).toMatchObject({ token_type: 'DPoP', grant_id: scene.grantId });
    expect(issued.headers['dpop-nonce']).toBe(holder.nonce);
    const events = await eventsOf(broker.database, 'token.issued');
    expect(events.at(-1)?.details).toMatchObject({ jkt });
    expect(decodeJwt(issued.body.access_token)).toMatchObject({ cnf: { jkt } });
    const server = await createServerOf(broker, resource);
    const asked = { token: issued.body.access_token };
    const { body } = await oauthPost(broker, '/oauth2/introspect', asked, server).expect(200);
    expect(body).toMatchObject({ active: true, token_type: 'DPoP', cnf: { jkt } });
  });

  it('may have the nonce of another replica', async () => {
    const holder = createHolder(clock);
    const { headers } = await ask(await holder.prove('POST', path), {}, replica).expect(400);
    holder.nonce = headers['dpop-nonce'];
    await ask(await holder.prove('POST', path)).expect(200);
  });

  it('gets a new nonce before the old one expires, and is refused with an expired or invented one', async () => {
    const holder = await createReady();
    const before = holder.nonce;
    clock.advance(150);
    const { headers } = await ask(await holder.prove('POST', path)).expect(200);
    expect(headers['dpop-nonce']).not.toBe(before);
    clock.advance(150);
    await expectRefusal(broker, ask(await holder.prove('POST', path)), wantsNonce);
    await expectRefusal(
      broker,
      ask(await holder.prove('POST', path, { claims: { nonce: 'x' } })),
      wantsNonce,
    );
  });

  it('may be without a proof, and then gets a bearer token', async () => {
    const { body, headers } = await agent.token().expect(200);
    expect(body.token_type).toBe('Bearer');
    expect(decodeJwt(body.access_token)).not.toHaveProperty('cnf');
    expect(headers).not.toHaveProperty('dpop-nonce');
  });

  it('is refused with an audit event for a proof that was used, on any replica', async () => {
    const holder = await createReady();
    const proof = await holder.prove('POST', path);
    await ask(proof).expect(200);
    const recorded = { code: 'invalid-dpop-proof', client: agent.id };
    await expectRefusal(broker, ask(proof), { ...invalid, recorded });
    for (const seconds of [0, 1, 58, 59]) {
      clock.advance(seconds);
      await ask(proof, {}, replica).expect(400);
      await ask(proof).expect(400);
    }
  });

  it('is answered with 503, not as a replay, if used proofs cannot be read', async () => {
    const holder = await createReady();
    const proof = await holder.prove('POST', path);
    const { owner } = broker.database;
    await owner.query('alter table used_values rename to used_values_away');
    await ask(proof).expect(500);
    await owner.query('alter table used_values_away rename to used_values');
    await ask(proof).expect(200);
  });

  it('creates the missing partition for the day of its proof', async () => {
    const holder = await createReady();
    const proof = await holder.prove('POST', path);
    await dropUsedValues(broker.database);
    await ask(proof).expect(200);
    await ask(proof, {}, replica).expect(400);
  });

  it('has a proof that stays used for as long as it could be valid, even if the client’s clock is ahead', async () => {
    const holder = await createReady();
    const iat = clock.now().getTime() / 1000 + 30.9;
    const proof = await holder.prove('POST', path, { claims: { iat } });
    await ask(proof).expect(200);
    for (const seconds of [1, 60, 60, 29]) {
      clock.advance(seconds);
      const answer = await ask(proof, {}, replica).expect(400);
      expect(['invalid_dpop_proof', 'use_dpop_nonce']).toContain(answer.body.error);
    }
    const { rows } = await broker.database.owner.query(
      "select extract(epoch from exp) as exp from used_values where purpose = 'dpop_proof' order by exp desc limit 1",
    );
    expect(Number(rows[0]?.exp)).toBe(Math.floor(iat) + 120);
  });

  it('gets a token once if it is sent fifty times at once, with the same proof, to two replicas', async () => {
    const holder = await createReady();
    const proof = await holder.prove('POST', path);
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, n) => ask(proof, {}, n % 2 === 0 ? broker : replica)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(49).fill(400)]);
  });

  it.each<[string, object, object?]>([
    ['another method', { htm: 'GET' }],
    ['another URL', { htu: 'https://evil.test/oauth2/token' }],
    ['an old time', { iat: 1 }],
    ['no jti', { jti: undefined }],
    ['another type', {}, { typ: 'JWT' }],
  ])('is refused for %s', async (_, claims, header = {}) => {
    const holder = await createReady();
    const recorded = { code: 'invalid-dpop-proof', client: agent.id };
    const proof = await holder.prove('POST', path, { claims, header });
    await expectRefusal(broker, ask(proof), { ...invalid, recorded });
  });

  it('is refused with two proofs, even if both are valid', async () => {
    const holder = await createReady();
    const DPoP = [await holder.prove('POST', path), await holder.prove('POST', path)];
    const headers = { ...basicAuth(agent), 'Content-Type': formType, DPoP };
    const wire = { method: 'POST', path, headers, body: 'grant_type=client_credentials' };
    expect(await send(broker, wire)).toMatchObject({ status: 400, json: { error: 'invalid_dpop_proof' } });
    for (const proof of DPoP) await ask(proof).expect(200);
  });

  it('must have a proof for the configured URL, not for the Host header', async () => {
    const holder = await createReady();
    const hostile = { Host: 'evil.test', 'X-Forwarded-Host': 'evil.test', 'X-Forwarded-Proto': 'http' };
    await ask(await holder.prove('POST', path))
      .set(hostile)
      .expect(200);
    const proof = await holder.prove('POST', path, { claims: { htu: 'http://evil.test/oauth2/token' } });
    await ask(proof).set(hostile).expect(400);
  });

  it('uses no proof if its client does not authenticate', async () => {
    const holder = await createReady();
    const proof = await holder.prove('POST', path);
    const stranger = { id: agent.id, secret: 'hps_wrong' };
    await oauthPost(broker, path, { grant_type: 'client_credentials' }, stranger)
      .set('DPoP', proof)
      .expect(401);
    await ask(proof).expect(200);
  });
});

describe('bound tokens', () => {
  const form = (identifier: string) => ({ resource: identifier, scope: 'read' });
  const unproved = (client: { id: string }) => ({
    ...invalid,
    recorded: { code: 'invalid-dpop-proof', client: client.id },
  });

  it('are required for a resource with require_bound_tokens, at once on every replica', async () => {
    const strict = await createResource(broker);
    await (await agent.api()).post('/v1/grants', grantRequest(strict.identifier)).expect(201);
    const before = (await agent.token(form(strict.identifier)).expect(200)).body.access_token;
    for (const on of [broker, replica]) {
      await oauthPost(
        on,
        path,
        { grant_type: 'client_credentials', ...form(strict.identifier) },
        agent,
      ).expect(200);
    }
    await asBootstrap(broker).patch(`/v1/resources/${strict.id}`, { require_bound_tokens: true }).expect(200);
    await expectRefusal(broker, agent.token(form(strict.identifier)), unproved(agent));
    await oauthPost(
      replica,
      path,
      { grant_type: 'client_credentials', ...form(strict.identifier) },
      agent,
    ).expect(400);
    const server = await createServerOf(broker, strict);
    const about = { token: before };
    expect((await oauthPost(replica, '/oauth2/introspect', about, server).expect(200)).body).toEqual({
      active: false,
    });
    const holder = await createReady();
    await ask(await holder.prove('POST', path), form(strict.identifier)).expect(200);
    await asBootstrap(broker)
      .patch(`/v1/resources/${strict.id}`, { require_bound_tokens: false })
      .expect(200);
    await agent.token(form(strict.identifier)).expect(200);
  });

  it('are required for an agent with require_bound_tokens, also as broker tokens, at once on every replica', async () => {
    const strict = await createAgent(broker);
    const plain = (on: { url: string }) => oauthPost(on, path, { grant_type: 'client_credentials' }, strict);
    for (const on of [broker, replica]) await plain(on).expect(200);
    const before = (await plain(broker).expect(200)).body.access_token;
    await apiOf(replica, before).get('/v1/grants').expect(200);
    const change = await asBootstrap(broker)
      .patch(`/v1/agents/${strict.id}`, { require_bound_tokens: true })
      .expect(200);
    expect(change.body.require_bound_tokens).toBe(true);
    await apiOf(replica, before).get('/v1/grants').expect(401);
    await expectRefusal(broker, plain(broker), unproved(strict));
    await plain(replica).expect(400);
    const holder = await createReady();
    await plain(replica)
      .set('DPoP', await holder.prove('POST', path))
      .expect(200);
    await asBootstrap(broker).patch(`/v1/agents/${strict.id}`, { require_bound_tokens: false }).expect(200);
    for (const on of [broker, replica]) await plain(on).expect(200);
  });
});

describe('the nonce', () => {
  it('is not required if it is optional, but must be valid if present', async () => {
    const lenient = await startBroker({
      clock,
      database: broker.database,
      config: { dpopNonce: 'optional' },
    });
    const holder = createHolder(clock);
    await ask(await holder.prove('POST', path), {}, lenient).expect(200);
    const wrong = await holder.prove('POST', path, { claims: { nonce: 'x' } });
    expect((await ask(wrong, {}, lenient)).body.error).toBe('use_dpop_nonce');
  });

  it('is requested without an audit event, and the request is not counted as unauthenticated', async () => {
    const apart = await startBroker({ clock, database: broker.database });
    const before = (await eventsOf(broker.database, 'token.refused')).length;
    const holder = createHolder(clock);
    const first = await ask(await holder.prove('POST', path), {}, apart).expect(400);
    holder.nonce = first.headers['dpop-nonce'];
    const { body } = await ask(await holder.prove('POST', path), {}, apart).expect(200);
    const token = body.access_token;
    const proof = await holder.prove('GET', '/v1/grants', { token, claims: { nonce: undefined } });
    const wire = {
      method: 'GET',
      path: '/v1/grants',
      headers: { Authorization: `DPoP ${token}`, DPoP: proof },
    };
    expect((await send(apart, wire)).status).toBe(401);
    await apart.close();
    expect(await eventsOf(broker.database, 'token.refused')).toHaveLength(before);
    expect(await eventsOf(broker.database, 'strangers.refused')).toHaveLength(0);
  });
});
