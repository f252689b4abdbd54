import { beforeAll, describe, expect, it } from 'vitest';
import { recoverAdmin } from '../../src/admins/bootstrap.ts';
import { createAudit } from '../../src/audit/audit.ts';
import { endAll } from '../../src/compose/end-all.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { introspect } from '../oauth/fixtures.ts';
import { createExchangeScene } from '../oauth/token-exchange/exchange-scene.ts';
import { agentOf, apiOf, asBootstrap, startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createFederatedAgent } from '../support/federated-agent.ts';
import { createKeyAgent } from '../support/key-agent.ts';

/** Returns the dependencies of the operator's commands. */
function openedBy({ database: { db } }: TestBroker, clock: FakeClock) {
  const random = createSystemRandom();
  const ids = createIds(clock, random);
  return { db, clock, random, ids, audit: createAudit({ clock, ids }) };
}

describe('ending everything', () => {
  const clock = new FakeClock();
  let broker: TestBroker;
  beforeAll(async () => {
    broker = await startBroker({ clock });
  });

  it('withdraws the trust in subject token issuers together with the credentials, and keeps it otherwise', async () => {
    const admin = asBootstrap(broker);
    const terms = { issuer: 'https://people.example', name: 'people', subject_tokens: true };
    const { id } = (await admin.post('/v1/trusted-issuers', terms).expect(201)).body;
    const read = async () => {
      const { rows } = await broker.database.owner.query(
        'select subject_tokens, epoch::integer from trusted_issuers where id = $1',
        [id],
      );
      return rows[0];
    };
    const opened = openedBy(broker, clock);
    expect(await endAll(opened, 'grants')).toMatchObject({ subjectIssuers: 0 });
    expect(await read()).toEqual({ subject_tokens: true, epoch: 1 });
    expect(await endAll(opened, 'credentials')).toMatchObject({ subjectIssuers: 1 });
    expect(await read()).toEqual({ subject_tokens: false, epoch: 2 });
    // No person has a key any more.
    await admin.get('/v1/trusted-issuers').expect(401);
    expect(await endAll(opened, 'credentials')).toMatchObject({ subjectIssuers: 0 });
  });
});

describe('ending everything with the credentials', () => {
  it('ends everything of agents without a secret, and of the agents that have exchanged their tokens', async () => {
    const scene = await createExchangeScene();
    const { broker, clock, resource } = scene;
    const place = { url: broker.url, now: () => clock.now() };
    const [byKeys, byIssuer] = [await createKeyAgent(place), await createFederatedAgent(place)];
    const [helper, other] = [await scene.agent(), await scene.agent()];
    const tokens: string[] = [];
    const handedDown: string[] = [];
    for (const agent of [byKeys, byIssuer]) {
      const { token } = await scene.holding(agent);
      const handed = await scene.exchanged(helper, token);
      tokens.push(token, handed);
      handedDown.push(String(scene.claims(handed).grant_id));
    }
    for (const token of tokens) expect(await scene.introspect(token)).toMatchObject({ active: true });
    const opened = openedBy(broker, clock);
    await endAll(opened, 'credentials');
    expect(await byKeys.token()).toMatchObject({ status: 401, body: { error: 'invalid_client' } });
    expect(await byIssuer.token()).toMatchObject({ status: 400, body: { error: 'invalid_grant' } });
    await helper.token().expect(401);
    const { key } = await recoverAdmin(opened, 'bootstrap@localhost');
    const admin = apiOf(broker, key);
    const renew = async (path: string, id: string) => ({
      id,
      secret: (await admin.post(`${path}/${id}/secrets`).expect(201)).body.client_secret as string,
    });
    const server = await renew('/v1/resources', resource.id);
    const [again, third] = [await renew('/v1/agents', helper.id), await renew('/v1/agents', other.id)];
    for (const token of tokens) {
      expect(await introspect(broker, token, server)).toEqual({ active: false });
      await scene.expectRefused(scene.exchange(third, token), 'invalid_request', 'not active');
    }
    for (const grant_id of handedDown) {
      const pinned = { resource: resource.identifier, grant_id };
      await scene.expectRefused(agentOf(broker, again).token(pinned), 'invalid_grant');
    }
  });
});
