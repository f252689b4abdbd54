import { decodeProtectedHeader } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { asBootstrap, oauthPost } from '../../support/broker.ts';
import { createKey, createKeyAgent } from '../../support/key-agent.ts';
import { createExchangeScene, type ExchangeScene } from './exchange-scene.ts';

const chainOf = async (scene: ExchangeScene) => scene.chain(await scene.agent());
type Chain = Awaited<ReturnType<typeof chainOf>>;

interface Cause {
  end(scene: ExchangeScene, chain: Chain): PromiseLike<unknown>;
  /** The end reason of the second grant, if it is not that its parent ended. */
  middle?: string;
  leaf?: string;
  /** Whether the cause changes what all chains of a scene share, so that it needs its own scene. */
  changesScene?: boolean;
  /** Whether the cause also ends the client that introspects. */
  takesServer?: boolean;
  /** The grants that the cause ends; all delegated grants by default. */
  ended?: (chain: Chain) => string[];
}

const ancestorEnded = 'its parent grant ended';
const admin = (scene: ExchangeScene) => asBootstrap(scene.broker);
const patchAgent = (scene: ExchangeScene, { root }: { root: { id: string } }, change: object) =>
  admin(scene).patch(`/v1/agents/${root.id}`, change).expect(200);
const strict = 'the agent of its subject token requires bound tokens, and the subject token was not bound';
const revoked = 'the credential of its subject token was revoked';

const causes: Record<string, Cause> = {
  'the first grant is revoked': {
    end: (scene, { rootGrant }) =>
      admin(scene).post(`/v1/grants/${rootGrant}/revoke`, { reason: 'over' }).expect(200),
  },
  'the grant between is revoked': {
    end: (scene, { middleGrant }) =>
      admin(scene).post(`/v1/grants/${middleGrant}/revoke`, { reason: 'over' }).expect(200),
    ended: ({ leafGrant }) => [leafGrant],
  },
  'the first agent is disabled': {
    end: (scene, { root }) => admin(scene).post(`/v1/agents/${root.id}/disable`, {}).expect(200),
  },
  'the first agent is deleted': {
    end: (scene, { root }) => admin(scene).delete(`/v1/agents/${root.id}`).expect(204),
  },
  'the resource is deleted': {
    end: (scene) => admin(scene).delete(`/v1/resources/${scene.resource.id}`).expect(204),
    middle: 'its resource was deleted',
    leaf: 'its resource was deleted',
    changesScene: true,
    takesServer: true,
  },
  'a scope is taken out': {
    end: (scene) =>
      admin(scene)
        .patch(`/v1/resources/${scene.resource.id}`, {
          scopes: [{ name: 'read', description: 'Read everything', risk: 'low' }],
        })
        .expect(200),
    middle: 'scope was removed or its risk raised: write',
    leaf: 'scope was removed or its risk raised: write',
    changesScene: true,
  },
  'the token of the first agent is revoked': {
    end: (scene, { root, tokens }) =>
      oauthPost(scene.broker, '/oauth2/revoke', { token: tokens[0] }, root).expect(200),
    middle: 'its subject token was revoked',
  },
  'the secret of the first agent is revoked': {
    async end(scene, { root }) {
      const { body } = await admin(scene).get(`/v1/agents/${root.id}`).expect(200);
      await admin(scene).delete(`/v1/agents/${root.id}/secrets/${body.secrets[0].id}`).expect(204);
    },
    middle: revoked,
  },
  'the key that signed its tokens is compromised': {
    end: (scene, { tokens }) =>
      admin(scene)
        .post('/v1/keys/rotate', {
          key_id: decodeProtectedHeader(tokens[0]).kid,
          compromised: true,
          reason: 'leaked',
        })
        .expect(200),
    middle: 'the key that signed its subject token was compromised',
    leaf: 'the key that signed its subject token was compromised',
    changesScene: true,
  },
  'the first agent begins to require bound tokens': {
    end: (scene, chain) => patchAgent(scene, chain, { require_bound_tokens: true }),
    middle: strict,
  },
  'the resource begins to require bound tokens': {
    end: (scene) =>
      admin(scene).patch(`/v1/resources/${scene.resource.id}`, { require_bound_tokens: true }).expect(200),
    middle: 'its resource requires bound tokens, and its subject token was not bound',
    leaf: 'its resource requires bound tokens, and its subject token was not bound',
    changesScene: true,
  },
};

/** Reads the rows of grants, and the events of their revocations. */
async function readEnds(scene: ExchangeScene, ids: string[]) {
  const { owner } = scene.broker.database;
  const { rows } = await owner.query(
    `select g.id, g.status, g.end_reason as reason, g.ended_at as at, e.type, e.details ->> 'reason' as said,
            e.actor_id = g.ended_by as "isSameActor"
       from grants g left join audit_events e on e.grant_id = g.id and e.type = 'grant.revoked'
      where g.id = any($1) order by g.id`,
    [ids],
  );
  return rows;
}

describe('delegated grants are written as ended, each with one audit event, before the response, when', () => {
  let shared: ExchangeScene;
  beforeAll(async () => {
    shared = await createExchangeScene();
    await shared.broker.worker.register();
  });

  it.each(Object.entries(causes))('%s', async (_, cause) => {
    const { end, middle, leaf, ended, takesServer = false, changesScene = false } = cause;
    const scene = changesScene ? await createExchangeScene() : shared;
    const chain = await chainOf(scene);
    await end(scene, chain);
    const { middleGrant, leafGrant } = chain;
    const reasons = new Map([
      [middleGrant, middle ?? ancestorEnded],
      [leafGrant, leaf ?? ancestorEnded],
    ]);
    const expected = (ended?.(chain) ?? [middleGrant, leafGrant]).map((id) => ({
      id,
      status: 'revoked',
      reason: reasons.get(id),
      at: scene.clock.now(),
      type: 'grant.revoked',
      said: reasons.get(id),
      isSameActor: true,
    }));
    const ids = expected.map(({ id }) => id);
    expect(await readEnds(scene, ids)).toEqual(expected);
    if (!takesServer) expect(await scene.introspect(chain.tokens[2])).toEqual({ active: false });
    // The replica that made the exchanges has them in memory, and issues nothing from there.
    await scene.expectRefused(scene.exchange(chain.leaf, chain.tokens[1]), 'invalid_request');
    if (ended === undefined)
      await scene.expectRefused(scene.exchange(chain.middle, chain.tokens[0]), 'invalid_request');
    // Nothing is queued, and the sweep finds nothing more to record.
    const queued = await scene.broker.database.owner.query('select id from grant_endings');
    expect(queued.rows).toEqual([]);
    scene.clock.advance(10);
    if (changesScene) await scene.broker.worker.register();
    await scene.broker.worker.runNow('expire-grants', scene.clock.now());
    expect(await readEnds(scene, ids)).toEqual(expected);
  });

  it('a scope is removed that only the parent grant has', async () => {
    const scene = await createExchangeScene();
    const helper = await scene.agent();
    const { token } = await scene.holding(await scene.agent());
    const derived = scene.claims(await scene.exchanged(helper, token, { scope: 'read' })).grant_id;
    const scopes = [{ name: 'read', description: 'Read everything', risk: 'low' }];
    await admin(scene).patch(`/v1/resources/${scene.resource.id}`, { scopes }).expect(200);
    expect(await readEnds(scene, [String(derived)])).toMatchObject([
      { status: 'revoked', reason: ancestorEnded, said: ancestorEnded, isSameActor: true },
    ]);
  });

  it('the keys of the first agent are replaced', async () => {
    const scene = await createExchangeScene();
    const place = { url: scene.broker.url, now: () => scene.clock.now() };
    const chain = await scene.chain(await createKeyAgent(place));
    await patchAgent(scene, chain, { jwks: { keys: [createKey().jwk] } });
    const reason = 'the credential of its subject token was replaced';
    expect(await readEnds(scene, [chain.middleGrant, chain.leafGrant])).toMatchObject([
      { status: 'revoked', reason, said: reason },
      { status: 'revoked', reason: ancestorEnded, said: ancestorEnded },
    ]);
  });
});

describe('an unbound token of an agent that begins to require bound tokens', () => {
  it('ends permanently: nothing is minted, exchanged or active, also after the requirement is removed', async () => {
    const scene = await createExchangeScene();
    const chain = await scene.chain(await scene.agent());
    await patchAgent(scene, chain, { require_bound_tokens: true });
    const pinned = { resource: scene.resource.identifier, grant_id: chain.middleGrant };
    for (const lifted of [false, true]) {
      if (lifted) await patchAgent(scene, chain, { require_bound_tokens: false });
      for (const token of chain.tokens) {
        expect(await scene.introspect(token)).toEqual({ active: false });
        await scene.expectRefused(scene.exchange(await scene.agent(), token), 'invalid_request');
      }
      await scene.expectRefused(chain.middle.token(pinned), 'invalid_grant');
    }
  });
});
