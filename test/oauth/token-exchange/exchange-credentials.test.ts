import { decodeProtectedHeader } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { agentOf, asBootstrap, type TestAgent } from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { createFederatedAgent, type FederatedAgent } from '../../support/federated-agent.ts';
import { createKey, createKeyAgent, type KeyAgent, keyAgentOf } from '../../support/key-agent.ts';
import { createExchangeScene, type ExchangeScene } from './exchange-scene.ts';

/** The grants that an agent delegated, or that were delegated to it, after a credential of the agent is revoked. */
let scene: ExchangeScene;
let other: TestAgent;
beforeAll(async () => {
  scene = await createExchangeScene();
  other = await scene.agent();
});

const admin = () => asBootstrap(scene.broker);
const placeOf = () => ({ url: scene.broker.url, now: () => scene.clock.now() });

/** Revokes the only secret of an agent. Returns the agent with a new secret. */
async function revokeSecret({ id }: TestAgent): Promise<TestAgent> {
  const path = `/v1/agents/${id}`;
  const [first] = (await admin().get(path).expect(200)).body.secrets;
  const { body } = await admin().post(`${path}/secrets`).expect(201);
  await admin().delete(`${path}/secrets/${first.id}`).expect(204);
  return agentOf(scene.broker, { id, secret: body.client_secret });
}

async function replaceKeys({ id }: KeyAgent): Promise<KeyAgent> {
  const key = createKey();
  await admin()
    .patch(`/v1/agents/${id}`, { jwks: { keys: [key.jwk] } })
    .expect(200);
  return keyAgentOf(placeOf(), { id, key });
}

async function renewIdentity(agent: FederatedAgent): Promise<FederatedAgent> {
  for (const subject of ['another job', 'job']) {
    const identity = { trusted_issuer_id: agent.issuerId, subject };
    await admin().patch(`/v1/agents/${agent.id}`, { identity }).expect(200);
  }
  return agent;
}

type Chain = Awaited<ReturnType<ExchangeScene['chain']>>;

/**
 * Asserts that no token of the chain is active, that nothing can be minted or exchanged with it, and that its grants
 * are shown as revoked.
 */
async function expectEnded({ tokens, ...chain }: Chain): Promise<void> {
  const resource = scene.resource.identifier;
  for (const token of tokens) {
    expect(await scene.introspect(token)).toEqual({ active: false });
    await scene.expectRefused(scene.exchange(other, token), 'invalid_request', 'not active');
  }
  for (const form of [{}, { scope: 'read' }]) {
    const [ofMiddle, ofLeaf] = [chain.middleGrant, chain.leafGrant].map((id) => ({
      grant_id: id,
      resource,
      ...form,
    }));
    await scene.expectRefused(chain.middle.token(ofMiddle), 'invalid_grant');
    await scene.expectRefused(chain.leaf.token(ofLeaf), 'invalid_grant');
  }
  for (const id of [chain.middleGrant, chain.leafGrant]) {
    expect((await admin().get(`/v1/grants/${id}`).expect(200)).body.status).toBe('revoked');
  }
}

describe('a chain of delegated grants has ended when', () => {
  it.each<
    [string, () => Promise<{ chain: Chain; renew: () => Promise<TestAgent | KeyAgent | FederatedAgent> }>]
  >([
    [
      'the secret of the first agent is revoked',
      async () => {
        const root = await scene.agent();
        return { chain: await scene.chain(root), renew: () => revokeSecret(root) };
      },
    ],
    [
      'the keys of the first agent are replaced',
      async () => {
        const root = await createKeyAgent(placeOf());
        return { chain: await scene.chain(root), renew: () => replaceKeys(root) };
      },
    ],
    [
      'the identity of the first agent is set again',
      async () => {
        const root = await createFederatedAgent(placeOf());
        return { chain: await scene.chain(root), renew: () => renewIdentity(root) };
      },
    ],
  ])('when %s, also once the agent authenticates with another', async (_, arrange) => {
    const { chain, renew } = await arrange();
    for (const token of chain.tokens) expect(await scene.introspect(token)).toMatchObject({ active: true });
    const renewed = await renew();
    await expectEnded(chain);
    const pinned = { resource: scene.resource.identifier, grant_id: chain.rootGrant };
    const { body } = await renewed.token(pinned);
    const again = await scene.exchanged(chain.middle, body.access_token);
    expect(scene.claims(again).grant_id).not.toBe(chain.middleGrant);
    expect(await scene.introspect(again)).toMatchObject({ active: true });
    await expectEnded(chain);
  });
});

describe('a client whose secret is revoked', () => {
  it('gets no delegated grant, also on a replica that still has the secret in memory', async () => {
    const { token } = await scene.holding(await scene.agent());
    const helper = await scene.agent();
    await agentOf(scene.replica, helper).token().expect(200);
    await revokeSecret(helper);
    const refused = await scene.exchange(helper, token, {}, scene.replica).expect(401);
    expect(refused.body.error).toBe('invalid_client');
    const { owner } = scene.broker.database;
    const { rows } = await owner.query('select id from grants where agent_id = $1', [helper.id]);
    expect(rows).toEqual([]);
  });
});

describe('the end of a chain', () => {
  it('keeps the revoked secret as its cause, even if the grant would have ended for another cause later', async () => {
    const own = await createExchangeScene();
    const root = await own.agent();
    const { middleGrant } = await own.chain(root);
    const by = asBootstrap(own.broker);
    const [first] = (await by.get(`/v1/agents/${root.id}`).expect(200)).body.secrets;
    await by.delete(`/v1/agents/${root.id}/secrets/${first.id}`).expect(204);
    const scopes = [{ name: 'admin', description: 'Admin', risk: 'high' }];
    await by.patch(`/v1/resources/${own.resource.id}`, { scopes }).expect(200);
    const { rows } = await own.broker.database.owner.query(
      "select object_id from audit_events where type = 'grant.revoked' and grant_id = $1",
      [middleGrant],
    );
    expect(rows).toEqual([{ object_id: root.id }]);
  });

  it('is noticed by a request that has already read its token, which then creates no grant', async () => {
    const [holder, helper] = [await scene.agent(), await scene.agent()];
    const { token } = await scene.holding(holder);
    const { owner } = scene.broker.database;
    const waits = async (): Promise<void> => {
      const { rows } = await owner.query(
        `select count(*)::integer as n from pg_locks where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database())`,
      );
      expect(rows[0]?.n).toBe(1);
    };
    await owner.query(
      `begin; select pg_advisory_xact_lock(hashtextextended('hallpass.grants ${holder.id}', 0))`,
    );
    const exchange = Promise.resolve(scene.exchange(helper, token));
    try {
      await eventually(waits);
      await revokeSecret(holder);
    } finally {
      await owner.query('rollback');
    }
    expect((await exchange).body.error).toBe('invalid_request');
    const { rows } = await owner.query('select id from grants where agent_id = $1', [helper.id]);
    expect(rows).toEqual([]);
  });
});

describe('a chain of delegated grants has also ended', () => {
  it('when the signing key of the tokens is compromised, and the first agent can then delegate again', async () => {
    const own = await createExchangeScene();
    const root = await own.agent();
    const chain = await own.chain(root);
    const { kid } = decodeProtectedHeader(chain.tokens[0]);
    const compromised = { key_id: kid, compromised: true, reason: 'leaked' };
    await asBootstrap(own.broker).post('/v1/keys/rotate', compromised).expect(200);
    const pinned = { resource: own.resource.identifier, grant_id: chain.leafGrant };
    await own.expectRefused(chain.leaf.token(pinned), 'invalid_grant');
    const shown = await asBootstrap(own.broker).get(`/v1/grants/${chain.leafGrant}`).expect(200);
    expect(shown.body.status).toBe('revoked');
    const { tokens } = await own.chain(root);
    expect(await own.introspect(tokens[2])).toMatchObject({ active: true });
  });
});
