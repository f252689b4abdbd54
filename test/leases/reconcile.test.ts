import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLease, endDue, readLease, type Scene, startScene } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

beforeEach(() => {
  scene.server.accounts.clear();
});

/** Adds an account to the target behind the broker's back. */
function addAccount(name: string): void {
  const expiresAt = new Date(scene.clock.now().getTime() + 3_600_000);
  scene.server.accounts.set(name, {
    name,
    password: 'x',
    roles: [],
    canLogIn: true,
    expiresAt,
    sessions: [],
    owns: [],
  });
}

const reconcile = async (resourceId: string) =>
  (await scene.admin.post(`/v1/resources/${resourceId}/reconcile`).expect(200)).body;

const prefixOf = (name: string): string => name.slice(0, 'hp_12345678_'.length);

describe('comparing a target with its leases', () => {
  it('changes nothing where both agree', async () => {
    const { lease, resource } = await createLease(scene);
    scene.clock.advance(10);
    const result = await reconcile(resource.id);
    expect(result).toEqual({
      accounts: 1,
      destroyed: [],
      disabled: [],
      failed: [],
      revoked: [],
      outliving: [],
    });
    expect((await readLease(scene, lease.id)).status).toBe('active');
  });

  it('destroys accounts of this installation that no lease needs, and never touches others', async () => {
    const { lease, resource } = await createLease(scene);
    const stray = `${prefixOf(lease.account_name)}aaaaaaaaaaaaaaaa`;
    const others = ['hp_00000000_aaaaaaaaaaaaaaaa', 'postgres', 'hp_admin'];
    for (const name of [stray, ...others]) addAccount(name);
    expect(await reconcile(resource.id)).toMatchObject({ accounts: 2, destroyed: [stray] });
    expect([...scene.server.accounts.keys()].sort()).toEqual([lease.account_name, ...others].sort());
  });

  it('records what it will destroy before it does so, and goes on after an account that it cannot end', async () => {
    const { lease, resource } = await createLease(scene);
    const strays = ['a', 'b'].map((letter) => prefixOf(lease.account_name) + letter.repeat(16));
    for (const name of strays) addAccount(name);
    scene.server.faults.missingPrivilege.add('cleanUp');
    expect(await reconcile(resource.id)).toMatchObject({ destroyed: [], failed: strays });
    scene.server.faults.missingPrivilege.clear();
    expect(await reconcile(resource.id)).toMatchObject({ destroyed: strays, failed: [] });
    const { rows } = await scene.broker.database.owner.query(
      "select details from audit_events where type = 'target.unneeded_accounts' and object_id = $1",
      [resource.id],
    );
    expect(rows.map(({ details }) => details.unneeded)).toContainEqual(strays);
  });

  it('destroys an account that appears after its lease was cleaned up, by the job, within a minute', async () => {
    const { lease } = await createLease(scene);
    await (await scene.as()).post(`/v1/leases/${lease.id}/revoke`).expect(200);
    await endDue(scene);
    expect((await readLease(scene, lease.id)).cleaned_up_at).not.toBeNull();
    addAccount(lease.account_name);
    await scene.broker.worker.register();
    scene.clock.advance(60);
    expect(await scene.broker.worker.runNow('reconcile-targets', scene.clock.now())).toBe('done');
    expect(scene.server.accounts.size).toBe(0);
  });

  it.each([
    ['was removed', (name: string) => void scene.server.accounts.delete(name)],
    [
      'cannot log in',
      (name: string) => void Object.assign(scene.server.accounts.get(name) ?? {}, { canLogIn: false }),
    ],
  ])('revokes a lease whose account %s', async (_what, change) => {
    const { lease, resource } = await createLease(scene);
    scene.clock.advance(10);
    change(lease.account_name);
    expect((await reconcile(resource.id)).revoked).toEqual([lease.id]);
    await endDue(scene);
    expect(await readLease(scene, lease.id)).toMatchObject({
      status: 'revoked',
      revoked_by: expect.stringMatching(/^adm_/),
    });
  });

  it('reports an account that expires later than its lease', async () => {
    const { lease, resource } = await createLease(scene);
    scene.clock.advance(10);
    Object.assign(scene.server.accounts.get(lease.account_name) ?? {}, { expiresAt: new Date('2040-01-01') });
    expect((await reconcile(resource.id)).outliving).toEqual([lease.account_name]);
  });

  it('is 503 while the target cannot be reached, and 404 for a resource without a connection', async () => {
    const { resource } = await createLease(scene);
    scene.server.faults.isUnreachable = true;
    const refused = await scene.admin.post(`/v1/resources/${resource.id}/reconcile`).expect(503);
    scene.server.faults.isUnreachable = false;
    expect(refused.body.code).toBe('target-unavailable');
    await scene.admin.delete(`/v1/resources/${resource.id}`).expect(204);
    await scene.admin.post(`/v1/resources/${resource.id}/reconcile`).expect(404);
  });
});
