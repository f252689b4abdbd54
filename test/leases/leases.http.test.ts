import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createAgent } from '../support/broker.ts';
import {
  createLease,
  createTargetAndGrant,
  endDue,
  readLease,
  type Scene,
  startScene,
  targetBody,
} from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

beforeEach(() => {
  scene.server.accounts.clear();
});

describe('a lease', () => {
  it('is an account in the target with the credential in the first response only', async () => {
    const { lease, grant } = await createLease(scene);
    expect(lease).toMatchObject({ status: 'active', grant_id: grant.id, expires_at: grant.expires_at });
    const { username, password } = lease.credential;
    expect(lease.credential).toEqual({
      username,
      password,
      host: 'db.internal',
      port: 4321,
      database: 'orders',
    });
    expect(username).toBe(lease.account_name);
    expect(username).toMatch(/^hp_[a-z0-9]{8}_[a-z2-7]{16}$/);
    expect(scene.server.accounts.get(username)).toMatchObject({ canLogIn: true, password });
    const read = await readLease(scene, lease.id);
    expect(read).not.toHaveProperty('credential');
    expect(JSON.stringify(read)).not.toContain(password);
    const { credential: _, ...made } = lease;
    expect(read).toEqual(made);
  });

  it('expires with its grant: its access ends, and its account is gone', async () => {
    const { lease } = await createLease(scene, { durationSeconds: 600 });
    scene.clock.advance(599);
    await endDue(scene);
    expect(await readLease(scene, lease.id)).toMatchObject({ status: 'active' });
    scene.clock.advance(1);
    expect(await readLease(scene, lease.id)).toMatchObject({ status: 'revoking' });
    await endDue(scene);
    const at = scene.clock.now().toISOString();
    expect(await readLease(scene, lease.id)).toMatchObject({
      status: 'revoked',
      revoke_reason: 'it expired',
      revoked_by: 'end-leases',
      access_disabled_at: at,
      cleaned_up_at: at,
      next_attempt_at: null,
    });
    expect(scene.server.accounts.size).toBe(0);
  });

  it.each([
    [
      'the grant is revoked',
      ({ grant }: Made) => scene.admin.post(`/v1/grants/${grant.id}/revoke`, { reason: 'x' }),
    ],
    ['the agent is disabled', ({ lease }: Made) => scene.admin.post(`/v1/agents/${lease.agent_id}/disable`)],
    ['the resource is deleted', ({ resource }: Made) => scene.admin.delete(`/v1/resources/${resource.id}`)],
    [
      'its scope means something else',
      ({ resource }: Made) =>
        scene.admin.patch(`/v1/resources/${resource.id}`, {
          scopes: [{ name: 'read', description: 'Read orders', risk: 'low', roles: ['writer'] }],
        }),
    ],
  ])('ends when %s', async (_what, end) => {
    const agent = await createAgent(scene.broker);
    const made = await createLease(scene, { agent });
    const response = await end(made);
    expect([200, 204]).toContain(response.status);
    expect((await readLease(scene, made.lease.id)).status).toBe('revoking');
    await endDue(scene);
    expect(await readLease(scene, made.lease.id)).toMatchObject({
      status: 'revoked',
      revoke_reason: 'its grant ended',
    });
    expect(scene.server.accounts.size).toBe(0);
  });

  it('is revoked by its agent, with the reason, and again without an error', async () => {
    const { lease } = await createLease(scene);
    const api = await scene.as();
    const revoked = await api.post(`/v1/leases/${lease.id}/revoke`, { reason: 'done' }).expect(200);
    expect(revoked.body).toMatchObject({
      status: 'revoking',
      revoke_reason: 'done',
      revoked_by: scene.agent.id,
    });
    await endDue(scene);
    const again = await api.post(`/v1/leases/${lease.id}/revoke`).expect(200);
    expect(again.body).toMatchObject({ status: 'revoked', revoke_reason: 'done' });
  });

  it('lasts for ttl_seconds, and a renewal moves its end, never past that of its grant', async () => {
    const { grant } = await createTargetAndGrant(scene, { durationSeconds: 600 });
    let api = await scene.as();
    const { body: lease } = await api.post('/v1/leases', { grant_id: grant.id, ttl_seconds: 60 }).expect(201);
    expect(Date.parse(lease.expires_at)).toBe(scene.clock.now().getTime() + 60_000);
    scene.clock.advance(30);
    api = await scene.as();
    const renewed = await api.post(`/v1/leases/${lease.id}/renew`, { ttl_seconds: 60 }).expect(200);
    expect(Date.parse(renewed.body.expires_at)).toBe(scene.clock.now().getTime() + 60_000);
    const longest = await api.post(`/v1/leases/${lease.id}/renew`, { ttl_seconds: 86_400 }).expect(200);
    expect(longest.body.expires_at).toBe(grant.expires_at);
    expect(scene.server.accounts.get(lease.account_name)?.expiresAt).toEqual(new Date(grant.expires_at));
  });

  it('cannot be renewed once it has expired', async () => {
    const { grant } = await createTargetAndGrant(scene);
    const api = await scene.as();
    const { body: lease } = await api.post('/v1/leases', { grant_id: grant.id, ttl_seconds: 60 }).expect(201);
    scene.clock.advance(60);
    const refused = await (await scene.as()).post(`/v1/leases/${lease.id}/renew`).expect(409);
    expect(refused.body.code).toBe('lease-not-active');
  });
});

type Made = Awaited<ReturnType<typeof createLease>>;

describe('a request for a lease', () => {
  it('is answered once for an Idempotency-Key: again without the credential, and with another body not at all', async () => {
    const { grant } = await createTargetAndGrant(scene);
    const api = await scene.as();
    const ask = (body: object) => api.post('/v1/leases', body).set('Idempotency-Key', 'k1');
    const first = await ask({ grant_id: grant.id }).expect(201);
    const second = await ask({ grant_id: grant.id }).expect(200);
    expect(second.body.id).toBe(first.body.id);
    expect(second.body).not.toHaveProperty('credential');
    expect(scene.server.accounts.size).toBe(1);
    const other = await ask({ grant_id: grant.id, ttl_seconds: 5 }).expect(409);
    expect(other.body.code).toBe('idempotency-key-reused');
  });

  it('makes one account for 20 concurrent requests with one key', async () => {
    const { grant } = await createTargetAndGrant(scene);
    const api = await scene.as();
    const ask = () => api.post('/v1/leases', { grant_id: grant.id }).set('Idempotency-Key', 'k20');
    const answers = await Promise.all(Array.from({ length: 20 }, async () => ask()));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(answers.filter(({ body }) => body.credential !== undefined)).toHaveLength(1);
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    expect(scene.server.accounts.size).toBe(1);
  });

  it.each([
    ['of another agent', 404, 'not-found'],
    ['that has ended', 409, 'grant-not-active'],
    ['for a resource with tokens', 400, 'invalid-request'],
  ])('under a grant %s is refused', async (which, status, code) => {
    const { grant } = await createTargetAndGrant(scene);
    let api = await scene.as();
    let id = grant.id;
    if (which === 'of another agent') api = await (await createAgent(scene.broker)).api();
    if (which === 'that has ended') await api.post(`/v1/grants/${id}/return`).expect(200);
    if (which === 'for a resource with tokens') {
      const scopes = [{ name: 'read', description: 'Read', risk: 'low' }];
      const terms = { identifier: `https://${status}.example`, name: 'API', scopes, max_grant_seconds: 600 };
      await scene.admin.post('/v1/resources', { ...terms, kind: 'api' }).expect(201);
      const asked = { resource: terms.identifier, scopes: ['read'], duration_seconds: 60, reason: 'x' };
      id = (await api.post('/v1/grants', asked).expect(201)).body.id;
    }
    const refused = await api.post('/v1/leases', { grant_id: id }).expect(status);
    expect(refused.body.code).toBe(code);
    expect(scene.server.accounts.size).toBe(0);
  });

  it('is refused for a resource without a connection', async () => {
    const { connection: _none, ...body } = targetBody();
    const resource = (await scene.admin.post('/v1/resources', body).expect(201)).body;
    expect(resource).toMatchObject({ connection: null, preflight: null });
    const api = await scene.as();
    const terms = { resource: resource.identifier, scopes: ['read'], duration_seconds: 60, reason: 'x' };
    const grant = (await api.post('/v1/grants', terms).expect(201)).body;
    const refused = await api.post('/v1/leases', { grant_id: grant.id }).expect(503);
    expect(refused.body.code).toBe('target-not-ready');
  });

  it('that policy no longer permits is refused', async () => {
    const { grant } = await createTargetAndGrant(scene);
    const api = await scene.as();
    const name = `forbid ${grant.id}`;
    const cedar = 'forbid(principal, action, resource);';
    const policy = (await scene.admin.post('/v1/policies', { name, cedar }).expect(201)).body;
    const refused = await api.post('/v1/leases', { grant_id: grant.id }).expect(403);
    expect(refused.body.code).toBe('policy-denied');
    const { rows } = await scene.broker.database.owner.query(
      "select outcome, details ->> 'code' as code from audit_events where type = 'lease.refused' and grant_id = $1",
      [grant.id],
    );
    expect(rows).toEqual([{ outcome: 'denied', code: 'policy-denied' }]);
    await scene.admin.delete(`/v1/policies/${policy.id}`).expect(204);
    expect(scene.server.accounts.size).toBe(0);
  });

  it('needs a grant that was requested: a token request makes none on demand, and names the way', async () => {
    const resource = (await scene.admin.post('/v1/resources', targetBody()).expect(201)).body;
    await scene.admin.patch(`/v1/agents/${scene.agent.id}`, { grants_on_demand: true }).expect(200);
    const refused = await scene.agent.token({ resource: resource.identifier, scope: 'read' }).expect(400);
    expect(refused.body.error).toBe('invalid_target');
    expect(refused.body.error_description).toContain('request one at /v1/grants');
  });
});

describe('leases of others', () => {
  it('cannot be read, renewed, revoked or listed by another agent', async () => {
    const { lease } = await createLease(scene);
    const other = await (await createAgent(scene.broker)).api();
    const answers = await Promise.all([
      other.get(`/v1/leases/${lease.id}`),
      other.post(`/v1/leases/${lease.id}/renew`),
      other.post(`/v1/leases/${lease.id}/revoke`),
    ]);
    expect(answers.map(({ body }) => body.code)).toEqual(['not-found', 'not-found', 'not-found']);
    expect((await other.get('/v1/leases').expect(200)).body.items).toEqual([]);
    const named = await other.get(`/v1/leases?agent_id=${scene.agent.id}`).expect(200);
    expect(named.body.items).toEqual([]);
    const all = await scene.admin.get(`/v1/leases?grant_id=${lease.grant_id}`).expect(200);
    expect(all.body.items.map(({ id }: { id: string }) => id)).toEqual([lease.id]);
  });

  it('cannot be delayed by another agent: it locks no grant that is not its own', async () => {
    const { lease } = await createLease(scene);
    const other = await (await createAgent(scene.broker)).api();
    const { owner } = scene.broker.database;
    // A request that locks the grant waits here, and gets 503 after 5 s.
    await owner.query('begin');
    await owner.query('select from grants where id = $1 for update', [lease.grant_id]);
    const answer = await other.post('/v1/leases', { grant_id: lease.grant_id });
    await owner.query('rollback');
    expect(answer.body.code).toBe('not-found');
  });
});
