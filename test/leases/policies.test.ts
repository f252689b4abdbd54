import { beforeAll, describe, expect, it } from 'vitest';
import { createLease, endDue, readLease, type Scene, startScene } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

async function createPolicy(cedar: string): Promise<string> {
  const name = `policy ${scene.broker.url} ${cedar.length}`;
  return (await scene.admin.post('/v1/policies', { name, cedar }).expect(201)).body.id;
}

describe('a change of policies', () => {
  it('ends the leases whose grants it no longer permits, and no others', async () => {
    const denied = await createLease(scene);
    const permitted = await createLease(scene);
    const cedar = `forbid(principal, action, resource == Resource::"${denied.resource.identifier}");`;
    const policy = await createPolicy(cedar);
    await endDue(scene);
    expect(await readLease(scene, denied.lease.id)).toMatchObject({
      status: 'revoked',
      revoked_by: 'check-policies',
      revoke_reason: 'policy no longer permits its grant',
    });
    expect((await readLease(scene, permitted.lease.id)).status).toBe('active');
    expect([...scene.server.accounts.keys()]).toEqual([permitted.lease.account_name]);
    await scene.admin.delete(`/v1/policies/${policy}`).expect(204);
  });

  it('that forbids other hours ends nothing: what counts is when the grant was requested', async () => {
    const { lease } = await createLease(scene);
    const hour = scene.clock.now().getUTCHours();
    const policy = await createPolicy(
      `forbid(principal, action, resource) when { context.hour != ${hour} };`,
    );
    scene.clock.advance(300);
    await endDue(scene);
    expect((await readLease(scene, lease.id)).status).toBe('active');
    await scene.admin.delete(`/v1/policies/${policy}`).expect(204);
  });
});
