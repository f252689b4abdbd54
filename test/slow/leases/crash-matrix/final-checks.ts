import { expect } from 'vitest';
import { asBootstrap } from '../../../support/broker.ts';
import { logIns } from '../log-ins.ts';
import type { Lane, Scene } from './scene.ts';
import type { KnownPassword } from './victim.ts';

/**
 * Expects after a sweep: every lease is active, or revoked with its account gone; the target has the accounts of active leases and no
 * others; their passwords work and no others do; every admin account has exactly one password, which the brokers know.
 */
export async function expectNothingLeft(scene: Scene): Promise<void> {
  const { target, database } = scene;
  const open = await database.owner.query<{ status: string; name: string }>(
    `select status, account_name as name from leases where cleaned_up_at is null order by account_name`,
  );
  expect(open.rows.filter(({ status }) => status !== 'active')).toEqual([]);
  const active = open.rows.map(({ name }) => name);
  expect(await target.accounts()).toEqual(active);
  await expectLogins(scene, new Set(active));
  await expectAdmins(scene);
}

/** Tries every password that an account ever had, with the client that agents use. */
async function expectLogins({ target, known }: Scene, active: ReadonlySet<string>): Promise<void> {
  const { endpoint, database } = target.subject.options.connection;
  const credentials = known.filter(({ username }) => username.startsWith('hp_'));
  const works = await Promise.all(
    credentials.map(async (credential) => {
      try {
        const session = await logIns[target.kind]({ ...credential, ...endpoint, database: database ?? null });
        await session.use();
        await session.close();
        return true;
      } catch {
        return false;
      }
    }),
  );
  const working = credentials.filter((_credential, n) => works[n]).map(({ username }) => username);
  expect([...new Set(working)].sort()).toEqual([...active].sort());
}

async function expectAdmins(scene: Scene): Promise<void> {
  const { database, lanes } = scene;
  const pending = await database.owner.query(
    'select id from connections where pending_password_sealed is not null or pending_at is not null',
  );
  expect(pending.rows).toEqual([]);
  await Promise.all(lanes.map((lane) => expectAdmin(scene, lane)));
}

async function expectAdmin({ target, known, survivor }: Scene, lane: Lane): Promise<void> {
  const passwords = new Map(known.map((admin) => [admin.password, admin]));
  const logIn = (admin: KnownPassword): Promise<boolean> =>
    target.logInAsAdmin(admin).then(
      () => true,
      () => false,
    );
  const own = [...passwords.values()].filter(({ username }) => username === lane.admin);
  const works = await Promise.all(own.map(logIn));
  expect([lane.admin, works.filter(Boolean)]).toEqual([lane.admin, [true]]);
  if (own.length === 1) return;
  // The survivor logs in with the password that is stored, and finds nothing more to do. An account may outlive its lease in the
  // settings of the target, if a renewal was cut off: the lease ends all the same.
  const { body } = await asBootstrap(survivor).post(`/v1/resources/${lane.resourceId}/reconcile`).expect(200);
  expect(body).toMatchObject({ destroyed: [], disabled: [], failed: [], revoked: [] });
}

/** Ends every lease, so that the next round begins with an empty target. */
export async function revokeEverything({ target, database, clock, known, survivor }: Scene): Promise<void> {
  const active = await database.owner.query<{ id: string }>("select id from leases where status = 'active'");
  for (const { id } of active.rows) await asBootstrap(survivor).post(`/v1/leases/${id}/revoke`).expect(200);
  clock.advance(1);
  await survivor.sweep();
  expect(await target.accounts()).toEqual([]);
  const admins = known.filter(({ username }) => !username.startsWith('hp_'));
  known.splice(0, known.length, ...admins);
}
