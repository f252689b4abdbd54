import { beforeAll, expect, it } from 'vitest';
import { createLease, endDue, readLease, type Scene, startScene } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

it('an account that owns objects loses its access at once, and is removed when it owns nothing any more', async () => {
  const { lease } = await createLease(scene);
  const account = scene.server.accounts.get(lease.account_name);
  if (account === undefined) throw new Error('no account');
  account.owns.push('table public.report', 'function public.total()');
  account.sessions.push({ isOpen: true });
  const disabledAt = scene.clock.now().toISOString();
  await scene.admin.post(`/v1/leases/${lease.id}/revoke`).expect(200);
  await endDue(scene);
  expect(account).toMatchObject({ canLogIn: false, sessions: [{ isOpen: false }] });
  const kept = {
    status: 'revoked',
    access_disabled_at: disabledAt,
    cleaned_up_at: null,
    last_error: null,
    owned_objects: ['table public.report', 'function public.total()'],
  };
  expect(await readLease(scene, lease.id)).toMatchObject(kept);

  const before = scene.server.calls.length;
  scene.clock.advance(3_599);
  await endDue(scene);
  expect(scene.server.calls.slice(before)).toEqual([]);
  account.owns.pop();
  scene.clock.advance(1);
  await endDue(scene);
  expect(await readLease(scene, lease.id)).toMatchObject({ ...kept, owned_objects: ['table public.report'] });

  account.owns.pop();
  scene.clock.advance(3_600);
  await endDue(scene);
  expect(await readLease(scene, lease.id)).toMatchObject({
    status: 'revoked',
    access_disabled_at: disabledAt,
    cleaned_up_at: scene.clock.now().toISOString(),
    next_attempt_at: null,
    owned_objects: [],
  });
  expect(scene.server.accounts.size).toBe(0);
});
