import { beforeAll, describe, expect, it } from 'vitest';
import { createKey } from '../support/key-agent.ts';
import { signIssuerToken } from '../support/test-issuer.ts';
import { createIdentityScene, type IdentityScene } from './identity-scene.ts';

let scene: IdentityScene;
beforeAll(async () => {
  scene = await createIdentityScene();
});

describe('the tenant claims of a trusted issuer', () => {
  it('end what was obtained by them when they are removed, and nothing when others are added', async () => {
    const { id: trusted_issuer_id, issueToken } = await scene.createIssuer({ tenant_claims: ['branch'] });
    const path = `/v1/trusted-issuers/${trusted_issuer_id}`;
    const terms = { trusted_issuer_id, claims: { branch: 'main', repository_id: '7' } };
    const id = await scene.createAgent([terms]);
    const token = await issueToken('run 1', terms.claims);
    const own = (await scene.asGrant(token).expect(200)).body.access_token;
    const ask = async () =>
      (await fetch(`${scene.replica.url}/v1/grants`, { headers: { Authorization: `Bearer ${own}` } })).status;
    await scene
      .admin()
      .patch(path, { tenant_claims: ['branch', 'account'] })
      .expect(200);
    await scene
      .admin()
      .patch(`/v1/agents/${id}`, { identities: [terms] })
      .expect(200);
    expect(await ask()).toBe(200);
    // Equal claims are the same identity, regardless of which claim identifies it.
    expect(
      (
        await scene
          .admin()
          .post('/v1/agents', await scene.agentTerms([terms]))
          .expect(409)
      ).body.code,
    ).toBe('conflict');
    await scene.admin().patch(path, { tenant_claims: [] }).expect(200);
    expect(await ask()).toBe(401);
    await scene.expectRefused(token);
  });
});

describe('an identity that an earlier version stored', () => {
  it('is equal to its canonical form: it stays valid with its tokens, and no other agent can have it', async () => {
    const { id: trusted_issuer_id, issueToken } = await scene.createIssuer();
    const identity = { trusted_issuer_id, subject: 's', claims: { event: ['push', 'call'] } };
    const id = await scene.createAgent([{ ...identity, claims: {} }]);
    const { owner } = scene.broker.database;
    // As a replica of the previous version writes it.
    await owner.query('update agent_secrets set revoked_at = now() where client_id = $1', [id]);
    await owner.query(
      `insert into agent_secrets (id, client_id, trusted_issuer_id, subject, claims, issued_by, created_at)
       values ('prf_legacy', $1, $2, 's', $3, 'adm_x', now())`,
      [id, trusted_issuer_id, JSON.stringify(identity.claims)],
    );
    const own = (await scene.asGrant(await issueToken('s', { event: 'push' })).expect(200)).body.access_token;
    await scene.admin().patch(`/v1/agents/${id}`, { identity }).expect(200);
    const answer = await fetch(`${scene.broker.url}/v1/grants`, {
      headers: { Authorization: `Bearer ${own}` },
    });
    expect(answer.status).toBe(200);
    await scene
      .admin()
      .post('/v1/agents', await scene.agentTerms([identity]))
      .expect(409);
  });
});

describe('the keys of a trusted issuer', () => {
  it('verify nothing once they are removed, also on a replica that has just used them', async () => {
    const issuer = await scene.createIssuer();
    await scene.createAgent([{ trusted_issuer_id: issuer.id, subject: 's' }]);
    const token = await issuer.issueToken('s');
    await scene.asGrant(token, {}, scene.replica).expect(200);
    const jwks = { keys: [createKey().jwk] };
    await scene.admin().patch(`/v1/trusted-issuers/${issuer.id}`, { jwks }).expect(200);
    await scene.asGrant(token, {}, scene.replica).expect(400);
  });

  it('are the same source in another order, and an unusable key can be removed without an effect', async () => {
    const issuer = await scene.createIssuer();
    const [other, unusable] = [createKey().jwk, { ...createKey().jwk, use: 'enc' }];
    const both = { keys: [issuer.key.jwk, other] };
    const audience = 'https://order.example';
    await scene.trust({ issuer: issuer.issuer, jwks: both, audience });
    const again = {
      name: 'again',
      issuer: issuer.issuer,
      jwks: { keys: [...both.keys].reverse() },
      audience,
    };
    await scene.admin().post('/v1/trusted-issuers', again).expect(409);

    await scene.createAgent([{ trusted_issuer_id: issuer.id, subject: 's' }]);
    const path = `/v1/trusted-issuers/${issuer.id}`;
    await scene
      .admin()
      .patch(path, { jwks: { keys: [issuer.key.jwk, unusable] } })
      .expect(200);
    const own = (await scene.asGrant(await issuer.issueToken('s')).expect(200)).body.access_token;
    await scene.admin().patch(path, { jwks: issuer.jwks }).expect(200);
    const answer = await fetch(`${scene.broker.url}/v1/grants`, {
      headers: { Authorization: `Bearer ${own}` },
    });
    expect(answer.status).toBe(200);
  });

  it('can be added and reordered without ending a token; removing a key ends the tokens of its agents', async () => {
    const issuer = await scene.createIssuer();
    await scene.createAgent([{ trusted_issuer_id: issuer.id, subject: 's' }]);
    const own = (await scene.asGrant(await issuer.issueToken('s')).expect(200)).body.access_token;
    const ask = async () =>
      (await fetch(`${scene.replica.url}/v1/grants`, { headers: { Authorization: `Bearer ${own}` } })).status;
    const added = createKey();
    const setKeys = (...keys: object[]) =>
      scene.admin().patch(`/v1/trusted-issuers/${issuer.id}`, { jwks: { keys } }).expect(200);
    await setKeys(issuer.key.jwk, added.jwk);
    await setKeys(added.jwk, issuer.key.jwk);
    expect(await ask()).toBe(200);
    const byAdded = await signIssuerToken(
      { issuer: issuer.issuer, key: added, now: () => scene.clock.now() },
      's',
    );
    // This also holds on a replica that has the earlier keys in memory.
    await scene.asGrant(byAdded).expect(200);
    await setKeys(added.jwk);
    expect(await ask()).toBe(401);
    await scene.expectRefused(await issuer.issueToken('s'));
  });
});
