import { expect, it } from 'vitest';
import { asBootstrap } from '../../support/broker.ts';
import { startPlatform } from '../../support/test-issuer.ts';
import { createExchangeScene, tokenType } from './exchange-scene.ts';

it('a platform token is exchanged for a broker token of its agent without client authentication, but not with may_act or an actor token', async () => {
  const scene = await createExchangeScene();
  const workload = await startPlatform(scene.clock);
  const trusted = await asBootstrap(scene.broker)
    .post('/v1/trusted-issuers', { name: 'platform', issuer: workload.issuer })
    .expect(201);
  const created = await asBootstrap(scene.broker)
    .post('/v1/agents', {
      name: 'federated',
      environment: 'development',
      owner: (await asBootstrap(scene.broker).get('/v1/admins').expect(200)).body.items[0].id,
      token_endpoint_auth_method: 'federated_jwt',
      identity: { trusted_issuer_id: trusted.body.id, subject: 'job' },
    })
    .expect(201);
  const form = { subject_token_type: tokenType('jwt') };
  const { body } = await scene.exchange(undefined, await workload.token('job'), form).expect(200);
  expect(body).toMatchObject({ scope: 'hallpass', issued_token_type: tokenType('access_token') });
  expect(scene.claims(body.access_token)).toMatchObject({
    sub: created.body.id,
    aud: 'https://hallpass.test',
  });
  const at = Math.floor(scene.clock.now().getTime() / 1000);
  const brief = await workload.token('job', { claims: { exp: at + 30 } });
  expect((await scene.exchange(undefined, brief, form).expect(200)).body.expires_in).toBe(30);
  const named = await workload.token('job', { claims: { may_act: { sub: created.body.id } } });
  await scene.expectRefused(scene.exchange(undefined, named, form), 'invalid_request');
  const actor = { actor_token: brief, actor_token_type: tokenType('jwt') };
  await scene.expectRefused(scene.exchange(undefined, brief, { ...form, ...actor }), 'invalid_request');
  await scene.expectRefused(
    scene.exchange(undefined, await workload.token('other'), form),
    'invalid_request',
  );
});
