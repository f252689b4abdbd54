import supertest from 'supertest';
import { beforeAll, describe, expect, it } from 'vitest';
import { eventsOf } from '../../oauth/fixtures.ts';
import {
  asBootstrap,
  bootstrapKey,
  createAgent,
  grantRequest,
  oauthPost,
  startBroker,
} from '../../support/broker.ts';
import { createHolder, type Holder } from '../../support/dpop.ts';
import { send } from '../../support/http.ts';
import { type Call, createDpopScene, type DpopScene, tokenPath as path } from './dpop-scene.ts';

let scene: DpopScene;
beforeAll(async () => {
  scene = await createDpopScene();
});

describe('a bound token on /v1', () => {
  it('is accepted with a new proof of its key for each request', async () => {
    const holder = await scene.createReady();
    const token = await scene.boundToken(holder);
    const proof = await holder.prove('GET', '/v1/grants', { token });
    const answer = await scene.callWith(holder, token, { proof });
    expect(answer.status).toBe(200);
    expect(answer.headers['dpop-nonce']).toBe(holder.nonce);
    expect((await scene.callWith(holder, token, { proof })).status).toBe(401);
    expect((await scene.callWith(holder, token, { proof, on: scene.replica })).status).toBe(401);
    expect((await scene.callWith(holder, token, { on: scene.replica })).status).toBe(200);
    expect((await scene.callWith(holder, token, { target: '/v1/grants?limit=5' })).status).toBe(200);
  });

  it('needs a proof for HEAD in a HEAD request', async () => {
    const holder = await scene.createReady();
    const token = await scene.boundToken(holder);
    const head = async (htm: string) => {
      const proof = await holder.prove(htm, '/v1/grants', { token });
      const headers = { Authorization: `DPoP ${token}`, DPoP: proof };
      return (await send(scene.broker, { method: 'HEAD', path: '/v1/grants', headers })).status;
    };
    expect([await head('HEAD'), await head('GET')]).toEqual([200, 401]);
  });

  it('that is used without its key gets an audit event, and counts for the rate limit of its address like a wrong secret', async () => {
    const limited = await startBroker({
      clock: scene.clock,
      database: scene.broker.database,
      config: { rateLimitPerSecond: 50 },
    });
    const holder = await scene.createReady();
    const token = await scene.boundToken(holder);
    const proof = await holder.prove('GET', '/v1/agents', { token });
    const statuses: number[] = [];
    for (let n = 0; n < 6; n += 1)
      statuses.push((await scene.callWith(holder, token, { proof, on: limited })).status);
    expect(statuses).toEqual([401, 401, 401, 401, 401, 429]);
    const events = await eventsOf(scene.broker.database, 'access.denied');
    const denied = { actor_id: scene.agent.id, outcome: 'denied', details: { code: 'unauthenticated' } };
    expect(events.slice(-5)).toMatchObject(Array(5).fill(denied));
  });

  it('needs one proof for a request with a body, although the request is authenticated twice', async () => {
    const holder = await scene.createReady();
    const token = await scene.boundToken(holder);
    const proof = await holder.prove('POST', '/v1/grants', { token });
    await supertest(scene.broker.url)
      .post('/v1/grants')
      .set({ Authorization: `DPoP ${token}`, DPoP: proof })
      .send(grantRequest(scene.resource.identifier))
      .expect(201);
  });

  it.each<[string, (holder: Holder, token: string) => Promise<Call>, string]>([
    ['no proof', async () => ({ proof: undefined }), 'invalid_dpop_proof'],
    ['the scheme Bearer', async () => ({ scheme: 'Bearer' }), 'invalid_token'],
    ['the scheme Bearer and no proof', async () => ({ scheme: 'Bearer', proof: undefined }), 'invalid_token'],
    [
      'a proof by another key',
      async (holder, token) => {
        const thief = createHolder(scene.clock);
        thief.nonce = holder.nonce;
        return { proof: await thief.prove('GET', '/v1/grants', { token }) };
      },
      'invalid_dpop_proof',
    ],
    [
      'a proof for another token',
      async (holder) => ({ proof: await holder.prove('GET', '/v1/grants', { token: 'other' }) }),
      'invalid_dpop_proof',
    ],
    [
      'a proof without a token',
      async (holder) => ({ proof: await holder.prove('GET', '/v1/grants') }),
      'invalid_dpop_proof',
    ],
    [
      'a proof for another path',
      async (holder, token) => ({ proof: await holder.prove('GET', '/v1/agents', { token }) }),
      'invalid_dpop_proof',
    ],
    [
      'a proof for another method',
      async (holder, token) => ({ proof: await holder.prove('POST', '/v1/grants', { token }) }),
      'invalid_dpop_proof',
    ],
    [
      'a proof without a nonce',
      async (holder, token) => ({
        proof: await holder.prove('GET', '/v1/grants', { token, claims: { nonce: undefined } }),
      }),
      'use_dpop_nonce',
    ],
  ])('is refused with %s', async (_, terms, error) => {
    const holder = await scene.createReady();
    const token = await scene.boundToken(holder);
    const answer = await scene.callWith(holder, token, await terms(holder, token));
    expect(answer.status).toBe(401);
    expect(answer.body.code).toBe('unauthenticated');
    expect(answer.headers['www-authenticate']).toContain(`error="${error}"`);
    expect((await scene.callWith(holder, token)).status).toBe(200);
  });

  it('is required for the DPoP scheme: an unbound token and a person’s key are refused with it', async () => {
    const holder = await scene.createReady();
    const bearer = (await scene.agent.token().expect(200)).body.access_token;
    expect((await scene.callWith(holder, bearer)).status).toBe(401);
    const twice = [await holder.prove('GET', '/v1/grants'), await holder.prove('GET', '/v1/grants')];
    const token = await scene.boundToken(holder);
    const headers = { Authorization: `DPoP ${token}`, DPoP: twice };
    expect((await send(scene.broker, { method: 'GET', path: '/v1/grants', headers })).status).toBe(401);
    const answer = await scene.callWith(holder, bootstrapKey);
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toMatch(/^DPoP .*algs="ES256 /);
  });

  it('is inactive once its agent is disabled or deleted, with or without a proof', async () => {
    const gone = await createAgent(scene.broker);
    const holder = await scene.createReady();
    const issued = await oauthPost(scene.broker, path, { grant_type: 'client_credentials' }, gone)
      .set('DPoP', await holder.prove('POST', path))
      .expect(200);
    await asBootstrap(scene.broker).post(`/v1/agents/${gone.id}/disable`).expect(200);
    expect((await scene.callWith(holder, issued.body.access_token)).status).toBe(401);
  });
});
