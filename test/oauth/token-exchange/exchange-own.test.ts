import { beforeAll, describe, expect, it } from 'vitest';
import { asBootstrap, oauthPost, type TestAgent } from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { createExchangeScene, type ExchangeScene } from './exchange-scene.ts';

let scene: ExchangeScene;
beforeAll(async () => {
  scene = await createExchangeScene();
});

const revokeToken = (agent: TestAgent, token: string) =>
  oauthPost(scene.broker, '/oauth2/revoke', { token }, agent).expect(200);

describe('a token that an agent obtained in exchange for its own', () => {
  it('ends with its subject token, and so do the tokens that others obtained for it', async () => {
    const [agent, helper] = [await scene.agent(), await scene.agent()];
    const { token } = await scene.holding(agent);
    const narrower = await scene.exchanged(agent, token, { scope: 'read' });
    const again = await scene.exchanged(agent, narrower);
    const handed = await scene.exchanged(helper, again);
    expect(await scene.introspect(handed)).toMatchObject({ active: true });
    await revokeToken(agent, token);
    for (const one of [narrower, again, handed]) {
      expect(await scene.introspect(one)).toEqual({ active: false });
    }
    await scene.expectRefused(scene.exchange(agent, narrower), 'invalid_request', 'not active');
    await scene.expectRefused(scene.exchange(helper, again), 'invalid_request', 'not active');
  });

  it('is the last of at most eight exchanges in a row', async () => {
    const [agent, helper] = [await scene.agent(), await scene.agent()];
    const { token: first } = await scene.holding(agent);
    let token = first;
    for (let n = 1; n <= 8; n += 1) token = await scene.exchanged(agent, token);
    await scene.expectRefused(scene.exchange(agent, token), 'invalid_request', 'too many exchanges in a row');
    await scene.expectRefused(
      scene.exchange(helper, token),
      'invalid_request',
      'too many exchanges in a row',
    );
    await scene.exchanged(helper, await scene.exchanged(agent, first));
  });

  it('is not issued after the revocation of its subject token was answered', async () => {
    const agent = await scene.agent();
    const { token } = await scene.holding(agent);
    const { owner } = scene.broker.database;
    const { jti } = scene.claims(token);
    // This statement runs after the exchange has checked the subject token, and before the statement that writes the
    // new token.
    await owner.query('begin');
    await owner.query('lock table policy_epoch in access exclusive mode');
    const exchanged = scene.exchange(agent, token, { scope: 'read' }).then((answer) => answer);
    await eventually(async () => {
      const { rows } = await owner.query(
        "select from pg_locks where not granted and relation = 'policy_epoch'::regclass",
      );
      expect(rows.length).toBeGreaterThan(0);
    });
    await owner.query('update tokens set revoked_at = $1 where jti = $2', [scene.clock.now(), jti]);
    await owner.query('commit');
    expect((await exchanged).status).toBe(400);
  });

  it('is not active if its subject token was revoked during the exchange', async () => {
    for (let round = 0; round < 8; round += 1) {
      const agent = await scene.agent();
      const { token } = await scene.holding(agent);
      const attempts = [1, 2, 3].map((n) =>
        scene.exchange(agent, token, { scope: 'read' }, n % 2 === 0 ? scene.broker : scene.replica),
      );
      const [, ...answers] = await Promise.all([revokeToken(agent, token), ...attempts]);
      for (const { body } of answers) {
        if (body.access_token !== undefined) {
          expect(await scene.introspect(body.access_token)).toEqual({ active: false });
        }
      }
    }
  });

  it('is inactive once the secret is revoked with which the first token was obtained, and so are the tokens that others obtained for it', async () => {
    const [agent, helper, next] = [await scene.agent(), await scene.agent(), await scene.agent()];
    const { token } = await scene.holding(agent);
    const { body } = await scene.exchange(helper, token).expect(200);
    const further = await scene.exchange(next, body.access_token).expect(200);
    const admin = asBootstrap(scene.broker);
    const shown = await admin.get(`/v1/agents/${agent.id}`).expect(200);
    await admin.post(`/v1/agents/${agent.id}/secrets`, {}).expect(201);
    await admin.delete(`/v1/agents/${agent.id}/secrets/${shown.body.secrets[0].id}`).expect(204);
    for (const [holder, got] of [
      [helper, body],
      [next, further.body],
    ] as const) {
      expect(await scene.introspect(got.access_token)).toEqual({ active: false });
      const pinned = { resource: scene.resource.identifier, grant_id: got.grant_id };
      await scene.expectRefused(holder.token(pinned), 'invalid_grant');
      await scene.expectRefused(scene.exchange(await scene.agent(), got.access_token), 'invalid_request');
    }
  });
});
