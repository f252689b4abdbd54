import { beforeAll, describe, expect, it } from 'vitest';
import { apiOf, asBootstrap, oauthPost, type TestAgent } from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { createServerOf } from '../fixtures.ts';
import { createExchangeScene, type ExchangeScene } from './exchange-scene.ts';

/** Tests that a delegated grant ends at once with each of its ancestors. */
let scene: ExchangeScene;
beforeAll(async () => {
  scene = await createExchangeScene();
});

const createTree = async () => scene.chain(await scene.agent());
type Tree = Awaited<ReturnType<typeof createTree>>;

const admin = () => asBootstrap(scene.broker);
const revokeToken = (agent: TestAgent, token: string) =>
  oauthPost(scene.broker, '/oauth2/revoke', { token }, agent).expect(200);

/** Asserts that no delegated grant is active, can be minted from, or can be exchanged, and that it is shown as ended. */
async function expectEnded({ leaf, leafGrant, tokens }: Tree, status = 'revoked'): Promise<void> {
  expect(await scene.introspect(tokens[2])).toEqual({ active: false });
  const pinned = { resource: scene.resource.identifier, grant_id: leafGrant };
  expect((await leaf.token(pinned).expect(400)).body.error).toBe('invalid_grant');
  expect((await leaf.token({ ...pinned, scope: 'read' }).expect(400)).body.error).toBe('invalid_grant');
  await scene.expectRefused(scene.exchange(await scene.agent(), tokens[2]), 'invalid_request');
  const shown = await admin().get(`/v1/grants/${leafGrant}`).expect(200);
  expect(shown.body.status).toBe(status);
  const listed = await admin().get(`/v1/grants?status=${status}&agent_id=${leaf.id}`).expect(200);
  expect(listed.body.items.map(({ id }: { id: string }) => id)).toEqual([leafGrant]);
}

describe('a delegated grant ends at once', () => {
  it.each<[string, (tree: Tree) => Promise<unknown>]>([
    [
      'the first grant is revoked',
      ({ rootGrant }) => admin().post(`/v1/grants/${rootGrant}/revoke`, { reason: 'x' }).expect(200),
    ],
    [
      'the first grant is returned',
      async ({ root, rootGrant }) => (await root.api()).post(`/v1/grants/${rootGrant}/return`).expect(200),
    ],
    [
      'the middle grant is revoked',
      ({ middleGrant }) => admin().post(`/v1/grants/${middleGrant}/revoke`, { reason: 'x' }).expect(200),
    ],
    [
      'the first agent is disabled',
      ({ root }) => admin().post(`/v1/agents/${root.id}/disable`, { reason: 'x' }).expect(200),
    ],
    [
      'the middle agent is disabled',
      ({ middle }) => admin().post(`/v1/agents/${middle.id}/disable`, { reason: 'x' }).expect(200),
    ],
    ['the first agent is deleted', ({ root }) => admin().delete(`/v1/agents/${root.id}`).expect(204)],
    ['the first token is revoked', ({ root, tokens }) => revokeToken(root, tokens[0])],
    ['the token between is revoked', ({ middle, tokens }) => revokeToken(middle, tokens[1])],
  ])('when %s', async (_, end) => {
    const tree = await createTree();
    expect(await scene.introspect(tree.tokens[2])).toMatchObject({ active: true });
    await end(tree);
    await expectEnded(tree);
    // A grant that has ended does not become active again.
    await admin().post(`/v1/agents/${tree.root.id}/enable`);
    await expectEnded(tree);
  });

  it('when the agent of an ancestor expires, unless the expiry is moved to a later time before that', async () => {
    const tree = await createTree();
    const at = new Date(scene.clock.now().getTime() + 1_000).toISOString();
    await admin().patch(`/v1/agents/${tree.root.id}`, { expires_at: at }).expect(200);
    const pinned = { resource: scene.resource.identifier, grant_id: tree.leafGrant };
    expect((await tree.leaf.token(pinned).expect(200)).body.expires_in).toBe(1);
    scene.clock.advance(2);
    await expectEnded(tree, 'expired');
  });

  it('when its resource is deleted', async () => {
    const other = await createExchangeScene();
    const [a, b] = [await other.agent(), await other.agent()];
    const { token } = await other.holding(a);
    const handed = await other.exchanged(b, token);
    const server = await createServerOf(other.broker, other.resource);
    await asBootstrap(other.broker).delete(`/v1/resources/${other.resource.id}`).expect(204);
    await oauthPost(other.broker, '/oauth2/introspect', { token: handed }, server).expect(401);
    await other.expectRefused(other.exchange(await other.agent(), handed), 'invalid_request');
  });

  it('and is written as ended at once, with an event for each, if a person ended it', async () => {
    const tree = await createTree();
    await admin().post(`/v1/grants/${tree.rootGrant}/revoke`, { reason: 'over' }).expect(200);
    const { rows } = await scene.broker.database.owner.query(
      'select id, status, end_reason from grants where id = any($1) order by id',
      [[tree.middleGrant, tree.leafGrant]],
    );
    const below = { status: 'revoked', end_reason: 'its parent grant ended' };
    expect(rows).toEqual([
      { id: tree.middleGrant, ...below },
      { id: tree.leafGrant, ...below },
    ]);
    const events = await scene.broker.database.owner.query(
      `select grant_id from audit_events where type = 'grant.revoked' and grant_id = any($1) order by grant_id`,
      [[tree.rootGrant, tree.middleGrant, tree.leafGrant]],
    );
    expect(events.rows.map(({ grant_id }) => grant_id)).toEqual(
      [tree.rootGrant, tree.middleGrant, tree.leafGrant].sort(),
    );
  });

  it('and is written as ended by the worker if an epoch ended it', async () => {
    const tree = await createTree();
    const endedAt = scene.clock.now();
    // Raises the epoch in a way that settles nothing at once, like `hallpass end-all` or a replica of the previous
    // version.
    await scene.broker.database.owner.query(
      'update agents set epoch = epoch + 1, updated_at = $2 where id = $1',
      [tree.root.id, endedAt],
    );
    scene.clock.advance(10);
    await scene.broker.worker.register();
    await scene.broker.worker.runNow('expire-grants', scene.clock.now());
    const { rows } = await scene.broker.database.owner.query(
      'select status, ended_at from grants where id = $1',
      [tree.leafGrant],
    );
    expect(rows).toEqual([{ status: 'revoked', ended_at: endedAt }]);
  });

  it('also when the end races the exchange: no delegated grant stays active', async () => {
    for (let round = 0; round < 12; round += 1) {
      const [root, middle] = [await scene.agent(), await scene.agent()];
      const { grantId, token } = await scene.holding(root);
      const ends = [
        () => admin().post(`/v1/grants/${grantId}/revoke`, { reason: 'x' }).expect(200),
        () => revokeToken(root, token),
        () => admin().post(`/v1/agents/${root.id}/disable`, { reason: 'x' }).expect(200),
      ];
      const end = ends[round % ends.length] as () => Promise<unknown>;
      const attempts = [1, 2, 3, 4].map((n) =>
        scene.exchange(middle, token, {}, n % 2 === 0 ? scene.broker : scene.replica),
      );
      const answers = await Promise.all([...attempts.slice(0, 2), end(), ...attempts.slice(2)]);
      for (const answer of answers as { status: number; body: { access_token?: string } }[]) {
        expect([200, 204, 400]).toContain(answer.status);
        if (answer.body.access_token === undefined) continue;
        expect(await scene.introspect(answer.body.access_token)).toEqual({ active: false });
      }
      const left = await apiOf(scene.broker, (await middle.token().expect(200)).body.access_token)
        .get('/v1/grants?status=active')
        .expect(200);
      expect(left.body.items).toEqual([]);
    }
  });
});

describe('a delegated grant', () => {
  it('cannot be obtained again with the same token once a person has revoked it', async () => {
    const [agent, helper] = [await scene.agent(), await scene.agent()];
    const { token } = await scene.holding(agent);
    const { body } = await scene.exchange(helper, token).expect(200);
    await admin().post(`/v1/grants/${body.grant_id}/revoke`, { reason: 'no' }).expect(200);
    await scene.expectRefused(scene.exchange(helper, token), 'invalid_request', 'revoked');
    await scene.expectRefused(scene.exchange(helper, token, { scope: 'read' }), 'invalid_request');
    await scene.exchange(await scene.agent(), token).expect(200);
  });

  it('cannot be obtained again with the same token from the memory of the replica', async () => {
    const [agent, helper] = [await scene.agent(), await scene.agent()];
    const { token } = await scene.holding(agent);
    const { body } = await scene.exchange(helper, token, { scope: 'read' }).expect(200);
    await scene.exchange(helper, token, { scope: 'write' }).expect(200);
    await admin().post(`/v1/grants/${body.grant_id}/revoke`, { reason: 'no' }).expect(200);
    await scene.expectRefused(
      scene.exchange(helper, token, { scope: 'write' }),
      'invalid_request',
      'revoked',
    );
  });

  it('can be obtained again by an agent that was disabled meanwhile, once it is enabled', async () => {
    const [agent, helper] = [await scene.agent(), await scene.agent()];
    const { token } = await scene.holding(agent);
    const { body: first } = await scene.exchange(helper, token).expect(200);
    await admin().post(`/v1/agents/${helper.id}/disable`, { reason: 'x' }).expect(200);
    await admin().post(`/v1/agents/${helper.id}/enable`, {}).expect(200);
    const { body } = await scene.exchange(helper, token).expect(200);
    expect(body.grant_id).not.toBe(first.grant_id);
    expect(await scene.introspect(first.access_token)).toEqual({ active: false });
  });

  it.each<[string, (tree: Tree) => Promise<unknown>]>([
    [
      'the first agent',
      ({ root }) => admin().post(`/v1/agents/${root.id}/disable`, { reason: 'x' }).expect(200),
    ],
    [
      'the secret of the first agent',
      async ({ root }) => {
        const path = `/v1/agents/${root.id}`;
        const { body } = await admin().get(path).expect(200);
        return admin().delete(`${path}/secrets/${body.secrets[0].id}`).expect(204);
      },
    ],
  ])('shows at once in a long poll, when what ended above is %s', async (_, end) => {
    const tree = await createTree();
    const api = await tree.leaf.api();
    const { headers } = await api.get(`/v1/grants/${tree.leafGrant}`).expect(200);
    const timers = scene.clock.timers;
    const waiting = api
      .get(`/v1/grants/${tree.leafGrant}?wait=30`)
      .set('If-None-Match', headers.etag as string);
    let seenStatus: string | undefined;
    const answer = waiting.then(({ body }) => {
      seenStatus = body.status;
    });
    await eventually(async () => expect(scene.clock.timers).toBeGreaterThan(timers));
    await end(tree);
    // The wait is far from its end: the next read finds the row.
    scene.clock.advance(3);
    await eventually(async () => expect(seenStatus).toBe('revoked'));
    await answer;
  });
});

describe('the database', () => {
  it('refuses a grant that is wider than its parent', async () => {
    const tree = await createTree();
    const change = (set: string) =>
      scene.broker.database.owner.query(`update grants set ${set} where id = $1`, [tree.leafGrant]);
    for (const set of [
      `requested_scopes = '{read,write,admin}', scopes = '{read,write,admin}'`,
      `expires_at = expires_at + interval '1 second'`,
      `ancestors = array['${tree.rootGrant}']`,
      `ancestors = '{}', delegation = null, subjects = '{}'`,
      `ancestors = array['${tree.middleGrant}', '${tree.rootGrant}']`,
    ]) {
      await expect(change(set)).rejects.toThrow(
        /wider than its parent|the ancestors of grant \S+ cannot change/,
      );
    }
    await expect(change(`delegation = null`)).rejects.toThrow(/grants_handed_down/);
    await expect(change(`status = 'pending'`)).rejects.toThrow(/grants_handed_down/);
  });
});
