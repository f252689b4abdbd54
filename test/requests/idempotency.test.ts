import { beforeAll, describe, expect, it } from 'vitest';
import {
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  readAtOnce,
  startBroker,
  type TestBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let broker: TestBroker;
let resource: { identifier: string };
beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, readAtOnce);
  resource = await createResource(broker);
});

describe('Idempotency-Key', () => {
  it('returns the first grant again, in its current state, even if policy has changed', async () => {
    const agent = await createAgent(broker);
    const post = async (change = {}) =>
      (await agent.api())
        .post('/v1/grants', grantRequest(resource.identifier, change))
        .set('Idempotency-Key', 'k');
    const first = await post();
    const forbid = await createPolicy(broker, 'forbid(principal, action, resource);');
    const again = await post();
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.body).toEqual(first.body);
    await asBootstrap(broker).post(`/v1/grants/${first.body.id}/revoke`, { reason: 'x' }).expect(200);
    expect((await post()).body).toMatchObject({ id: first.body.id, status: 'revoked' });
    await asBootstrap(broker).delete(`/v1/policies/${forbid}`).expect(204);
  });

  it('with another body is answered with 409, and of another agent is another key', async () => {
    const agent = await createAgent(broker);
    const other = await createAgent(broker);
    const post = async (who: typeof agent, change = {}) =>
      (await who.api())
        .post('/v1/grants', grantRequest(resource.identifier, change))
        .set('Idempotency-Key', 'same');
    const first = await post(agent);
    const reused = await post(agent, { reason: 'another' });
    expect([reused.status, reused.body.code]).toEqual([409, 'idempotency-key-reused']);
    const foreign = await post(other, { reason: 'another' });
    expect(foreign.status).toBe(201);
    expect(foreign.body.id).not.toBe(first.body.id);
  });

  it('is not consumed by a denial, and is forgotten after a day', async () => {
    const agent = await createAgent(broker);
    const post = async () =>
      (await agent.api()).post('/v1/grants', grantRequest(resource.identifier)).set('Idempotency-Key', 'day');
    const forbid = await createPolicy(broker, 'forbid(principal, action, resource);');
    expect((await post()).status).toBe(403);
    await asBootstrap(broker).delete(`/v1/policies/${forbid}`).expect(204);
    const first = await post();
    expect(first.status).toBe(201);
    clock.advance(24 * 3600);
    const next = await post();
    expect(next.status).toBe(201);
    expect(next.body.id).not.toBe(first.body.id);
  });

  it('is stored only as digests', async () => {
    const { rows } = await broker.database.owner.query('select * from idempotency_keys');
    expect(rows.length).toBeGreaterThan(0);
    expect(Object.keys(rows[0]).sort()).toEqual([
      'body_hash',
      'caller',
      'created_at',
      'key',
      'object_id',
      'route',
    ]);
    expect(JSON.stringify(rows)).not.toContain('because');
  });
});
