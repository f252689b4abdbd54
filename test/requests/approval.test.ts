import { beforeAll, describe, expect, it } from 'vitest';
import {
  type Api,
  agentOf,
  apiOf,
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  grantRequest,
  startBroker,
  type TestAgent,
  type TestBroker,
  type TestPerson,
} from '../support/broker.ts';
import { countEvents } from '../support/count.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let broker: TestBroker;
let agent: TestAgent;
let api: Api;
let owner: TestPerson;
let one: TestPerson;
let two: TestPerson;
let resource: { id: string; identifier: string };

beforeAll(async () => {
  broker = await startBroker({ clock });
  owner = await createPerson(broker, { roles: ['approver'], name: 'owner' });
  one = await createPerson(broker, { roles: ['approver'], groups: ['security'], name: 'one' });
  two = await createPerson(broker, { roles: ['approver'], groups: ['ops'], name: 'two' });
  agent = await createAgent(broker, { owner: owner.id });
  api = await agent.api();
  resource = await createResource(broker);
});

async function pending(change: Record<string, unknown> = {}) {
  const made = await api.post('/v1/grants', grantRequest(resource.identifier, change)).expect(202);
  const path = `/v1/grants/${made.body.id}`;
  const approve = (by: { api: Api }, body: object = {}) =>
    by.api.post(`${path}/approve`, { request_digest: made.body.request_digest, ...body });
  return { id: made.body.id as string, path, body: made.body, approve };
}

describe('an approval', () => {
  it('activates the grant at the moment of the decision, with one audit event', async () => {
    const grant = await pending();
    clock.advance(30);
    const approved = await grant.approve(one, { note: 'fine' }).expect(200);
    expect(approved.body).toMatchObject({
      status: 'active',
      decided_at: clock.now().toISOString(),
      expires_at: new Date(clock.now().getTime() + 600_000).toISOString(),
    });
    expect(approved.body.decision.approvals).toEqual([
      expect.objectContaining({ by: one.id, note: 'fine', key_issued_by: expect.stringMatching(/^adm_/) }),
    ]);
    for (const type of ['grant.approved', 'grant.activated']) {
      expect(await countEvents(broker.database, type, { grantId: grant.id })).toBe(1);
    }
  });

  it('without a digest is answered with 428, and with the digest of older terms with 412', async () => {
    const grant = await pending({ scopes: ['write'] });
    await one.api.post(`${grant.path}/approve`, {}).expect(428);
    const catalogue = await asBootstrap(broker).get(`/v1/resources/${resource.id}`).expect(200);
    const scopes = catalogue.body.scopes.map((scope: { name: string; description: string }) =>
      scope.name === 'write' ? { ...scope, description: `${scope.description} at will` } : scope,
    );
    await asBootstrap(broker).patch(`/v1/resources/${resource.id}`, { scopes }).expect(200);
    const stale = await grant.approve(one).expect(412);
    expect(stale.body.code).toBe('stale-digest');
    const now = await one.api.get(grant.path).expect(200);
    expect(now.body.request_digest).not.toBe(grant.body.request_digest);
    await grant.approve(one, { request_digest: now.body.request_digest }).expect(200);
  });

  it('counts only for the text that the approver saw: a change of the text after a first approval ends the request', async () => {
    const forbid = await createPolicy(
      broker,
      'forbid(principal, action == Action::"request", resource) when { resource.labels.contains("quorum") } unless { context.approvals >= 2 };',
    );
    const scope = (description: string, risk = 'medium') => [{ name: 'write', description, risk }];
    const described = await createResource(broker, { labels: ['quorum'], scopes: scope('Read everything') });
    const ask = async () =>
      (await api.post('/v1/grants', grantRequest(described.identifier, { scopes: ['write'] })).expect(202))
        .body;
    const [approved, untouched] = [await ask(), await ask()];
    const { id, request_digest } = approved;
    await one.api.post(`/v1/grants/${id}/approve`, { request_digest }).expect(200);
    const text = { scopes: scope('Read AND EXPORT everything') };
    await asBootstrap(broker).patch(`/v1/resources/${described.id}`, text).expect(200);
    const now = (await two.api.get(`/v1/grants/${id}`).expect(200)).body;
    expect(now).toMatchObject({ status: 'denied', end_reason: 'scope was changed after an approval: write' });
    const late = { request_digest: now.request_digest };
    await two.api.post(`/v1/grants/${id}/approve`, late).expect(409);
    expect((await two.api.get(`/v1/grants/${untouched.id}`).expect(200)).body.status).toBe('pending');
    await asBootstrap(broker).delete(`/v1/policies/${forbid}`).expect(204);
  });

  it('never exceeds the current maximum of the resource', async () => {
    const limited = await createResource(broker);
    const { body } = await api.post('/v1/grants', grantRequest(limited.identifier)).expect(202);
    await asBootstrap(broker).patch(`/v1/resources/${limited.id}`, { max_grant_seconds: 60 }).expect(200);
    const approve = (change: object) =>
      one.api.post(`/v1/grants/${body.id}/approve`, { request_digest: body.request_digest, ...change });
    expect((await approve({}).expect(400)).body.detail).toContain('at most 60 seconds');
    await approve({ duration_seconds: 60 }).expect(200);
  });

  it('can narrow the terms, but not widen them', async () => {
    const grant = await pending({ scopes: ['read', 'write'] });
    await grant.approve(one, { scopes: ['read', 'admin'] }).expect(400);
    await grant.approve(one, { duration_seconds: 601 }).expect(400);
    const narrowed = await grant.approve(one, { scopes: ['write'], duration_seconds: 120 }).expect(200);
    expect(narrowed.body).toMatchObject({
      status: 'active',
      scopes: ['write'],
      requested_scopes: ['read', 'write'],
      duration_seconds: 120,
      requested_duration_seconds: 600,
    });
    expect(narrowed.body.request_digest).not.toBe(grant.body.request_digest);
  });

  it('by a person without the role, or whose role was just removed, is answered with 403', async () => {
    const grant = await pending();
    const auditor = await createPerson(broker, { roles: ['auditor'] });
    await grant.approve(auditor).expect(403);
    const former = await createPerson(broker, { roles: ['approver'] });
    await asBootstrap(broker).patch(`/v1/admins/${former.id}`, { roles: [] }).expect(200);
    await grant.approve(former).expect(403);
  });
});

describe('a controller of the agent cannot approve', () => {
  const refuse = async (grant: Awaited<ReturnType<typeof pending>>, by: { api: Api }) => {
    const refused = await grant.approve(by).expect(403);
    expect(refused.body.code).toBe('self-approval');
  };

  it('as the owner, with a second key, or as the owner at the time of the request', async () => {
    const grant = await pending();
    await refuse(grant, owner);
    const second = await asBootstrap(broker)
      .post(`/v1/admins/${owner.id}/keys`, { name: 'second' })
      .expect(201);
    await refuse(grant, { api: apiOf(broker, second.body.key) });
    const next = await createPerson(broker, { roles: ['approver'], name: 'next' });
    await asBootstrap(broker).patch(`/v1/agents/${agent.id}`, { owner: next.id }).expect(200);
    await refuse(grant, owner);
    await refuse(grant, next);
    await asBootstrap(broker).patch(`/v1/agents/${agent.id}`, { owner: owner.id }).expect(200);
  });

  it('as its creator, or as the issuer of a valid secret of it', async () => {
    const creator = await createPerson(broker, { roles: ['admin', 'approver'], name: 'creator' });
    const made = await creator.api
      .post('/v1/agents', {
        name: 'x',
        owner: owner.id,
        environment: 'staging',
        token_endpoint_auth_method: 'client_secret_post',
      })
      .expect(201);
    const issuer = await createPerson(broker, { roles: ['admin', 'approver'], name: 'issuer' });
    const secret = await issuer.api.post(`/v1/agents/${made.body.id}/secrets`).expect(201);
    const client = { id: made.body.id, secret: secret.body.client_secret };
    const other = await agentOf(broker, client).api();
    const asked = await other.post('/v1/grants', grantRequest(resource.identifier)).expect(202);
    const approve = (by: { api: Api }) =>
      by.api.post(`/v1/grants/${asked.body.id}/approve`, { request_digest: asked.body.request_digest });
    expect((await approve(creator).expect(403)).body.code).toBe('self-approval');
    expect((await approve(issuer).expect(403)).body.code).toBe('self-approval');
    // A person who could act as the agent when it requested stays its controller for this request, even after
    // revoking the secret.
    await issuer.api.delete(`/v1/agents/${made.body.id}/secrets/${secret.body.id}`).expect(204);
    expect((await approve(issuer).expect(403)).body.code).toBe('self-approval');
  });
});

describe('two approvals, one of them from security', () => {
  let id: string;
  beforeAll(async () => {
    id = await createPolicy(
      broker,
      `forbid(principal, action == Action::"request", resource) when { context.max_risk == "high" }
        unless { context.approvals >= 2 && context.approver_groups.contains("security") };`,
    );
  });

  it('wait for both, keep the first through a narrowing, and count nobody twice', async () => {
    const grant = await pending({ scopes: ['admin', 'read'] });
    expect(grant.body.decision.approvals_required).toBe(2);
    const first = await grant.approve(two, { duration_seconds: 300 }).expect(200);
    expect(first.body).toMatchObject({ status: 'pending', duration_seconds: 300 });
    const { request_digest } = first.body;
    expect((await grant.approve(two, { request_digest }).expect(409)).body.code).toBe('already-approved');
    await grant.approve(one).expect(412);
    const second = await grant.approve(one, { request_digest }).expect(200);
    expect(second.body).toMatchObject({ status: 'active', duration_seconds: 300 });
    expect(second.body.decision.approvals).toHaveLength(2);
  });

  it('count as one if one of the people is no longer an approver', async () => {
    const grant = await pending({ scopes: ['admin'] });
    const leaving = await createPerson(broker, { roles: ['approver'] });
    const { body } = await grant.approve(leaving).expect(200);
    await asBootstrap(broker)
      .patch(`/v1/admins/${leaving.id}`, { roles: ['auditor'] })
      .expect(200);
    const second = await grant.approve(one, { request_digest: body.request_digest }).expect(200);
    expect(second.body.status).toBe('pending');
    const third = await grant.approve(two, { request_digest: second.body.request_digest }).expect(200);
    expect(third.body.status).toBe('active');
  });

  it('are no longer required when the policy was deleted', async () => {
    const grant = await pending({ scopes: ['admin'] });
    await asBootstrap(broker).delete(`/v1/policies/${id}`).expect(204);
    expect((await grant.approve(two).expect(200)).body.status).toBe('active');
  });
});

describe('a grant', () => {
  it('is shown to its agent, to people with a role, and to the owner of the agent; all others get 404', async () => {
    const grant = await pending();
    const auditor = await createPerson(broker, { roles: ['auditor'] });
    const stranger = await createPerson(broker, {});
    const plainOwner = await createPerson(broker, {});
    const foreign = await (await createAgent(broker, { owner: plainOwner.id })).api();
    await auditor.api.get(grant.path).expect(200);
    await stranger.api.get(grant.path).expect(404);
    for (const [method, suffix] of [
      ['get', ''],
      ['post', '/cancel'],
      ['post', '/return'],
    ] as const) {
      await foreign[method](`${grant.path}${suffix}`).expect(404);
    }
    const own = await foreign.post('/v1/grants', grantRequest(resource.identifier)).expect(202);
    await plainOwner.api.get(`/v1/grants/${own.body.id}`).expect(200);
    await plainOwner.api.get(grant.path).expect(404);
    const listed = await plainOwner.api.get('/v1/grants').expect(200);
    expect(listed.body.items.map((item: { id: string }) => item.id)).toEqual([own.body.id]);
    const asked = await foreign.get(`/v1/grants?agent_id=${agent.id}`).expect(200);
    expect(asked.body.items).toEqual([]);
  });
});
