import { beforeAll, describe, expect, it } from 'vitest';
import type { LeaseStatus } from '../../src/leases/lease.ts';
import { createTargetAndGrant, insertLeases, type Scene, startScene } from './scene.ts';

let scene: Scene;
let grant: { id: string };

beforeAll(async () => {
  scene = await startScene();
  ({ grant } = await createTargetAndGrant(scene));
});

const restrictViolation = '23001';
const checkViolation = '23514';

async function update(id: string, set: string): Promise<string> {
  try {
    await scene.broker.database.owner.query(`update leases set ${set} where id = $1`, [id]);
    return 'done';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

/** What each state has, beyond its predecessor. */
const become: Record<LeaseStatus, string> = {
  creating: "status = 'creating'",
  active: "status = 'active', activated_at = coalesce(activated_at, now())",
  revoking: "status = 'revoking', revoked_at = coalesce(revoked_at, now())",
  revoked:
    "status = 'revoked', revoked_at = coalesce(revoked_at, now()), access_disabled_at = coalesce(access_disabled_at, now())",
};
const path: Record<LeaseStatus, LeaseStatus[]> = {
  creating: [],
  active: ['active'],
  revoking: ['revoking'],
  revoked: ['revoking', 'revoked'],
};
const statuses = Object.keys(become) as LeaseStatus[];
const allowed = new Set(['creating active', 'creating revoking', 'active revoking', 'revoking revoked']);

/** Inserts a lease and brings it to a state. */
async function leaseThatIs(status: LeaseStatus): Promise<string> {
  const [id = ''] = await insertLeases(scene, { grant, count: 1, status: 'creating' });
  for (const next of path[status]) expect(await update(id, become[next])).toBe('done');
  return id;
}

describe('the database', () => {
  it.each(
    statuses.flatMap((from) => statuses.filter((to) => to !== from).map((to) => [from, to] as const)),
  )('permits a lease that is %s to become %s exactly if the table of states does', async (from, to) => {
    const id = await leaseThatIs(from);
    expect(await update(id, become[to])).toBe(allowed.has(`${from} ${to}`) ? 'done' : restrictViolation);
  });

  it.each([
    ['access_disabled_at = null, status = status', restrictViolation],
    ["access_disabled_at = access_disabled_at + interval '1 s'", restrictViolation],
    ['cleaned_up_at = null, next_attempt_at = now()', restrictViolation],
    ["cleaned_up_at = cleaned_up_at + interval '1 s'", restrictViolation],
    ['next_attempt_at = now()', checkViolation],
    ['revoked_at = null', restrictViolation],
    ["account_name = 'hp_other_account'", restrictViolation],
    ["connection_id = 'con_other'", restrictViolation],
    ["grant_id = 'grt_other'", restrictViolation],
    ["agent_id = 'agt_other'", restrictViolation],
    ["resource_id = 'res_other'", restrictViolation],
  ])('refuses of a lease that is cleaned up: set %s', async (set, code) => {
    const id = await leaseThatIs('revoked');
    expect(await update(id, 'cleaned_up_at = now(), next_attempt_at = null')).toBe('done');
    expect(await update(id, set)).toBe(code);
  });

  it.each([
    'activated_at',
    'created_at',
    'create_deadline_at',
  ])('never changes %s of a lease that is active', async (column) => {
    const id = await leaseThatIs('active');
    expect(await update(id, `${column} = ${column} + interval '1 h'`)).toBe(restrictViolation);
  });

  it('never changes when, by whom and why a lease was revoked', async () => {
    const id = await leaseThatIs('revoking');
    expect(await update(id, "revoked_by = 'adm_a', revoke_reason = 'done'")).toBe(restrictViolation);
    expect(await update(id, "revoked_at = revoked_at + interval '1 s'")).toBe(restrictViolation);
  });

  it('never moves the end of a lease that is not active', async () => {
    const id = await leaseThatIs('revoking');
    expect(await update(id, "expires_at = expires_at + interval '1 h'")).toBe(restrictViolation);
  });

  it.each([
    ["status = 'active'", 'creating'],
    ['cleaned_up_at = now(), next_attempt_at = null', 'revoking'],
    ['next_attempt_at = null', 'active'],
    ['revoked_at = now()', 'active'],
  ] as const)('refuses a contradiction: set %s of a lease that is %s', async (set, status) => {
    expect(await update(await leaseThatIs(status), set)).toBe(checkViolation);
  });

  it('does not let the application role delete a lease', async () => {
    const id = await leaseThatIs('active');
    const { db } = scene.broker.database;
    await expect(db.deleteFrom('leases').where('id', '=', id).execute()).rejects.toMatchObject({
      code: '42501',
    });
  });

  it('has one account for each name', async () => {
    const [id = ''] = await insertLeases(scene, { grant, count: 1 });
    const { rows } = await scene.broker.database.owner.query(
      'select account_name from leases where id = $1',
      [id],
    );
    const change = { account_name: `'${rows[0].account_name}'` };
    await expect(insertLeases(scene, { grant, count: 1, change })).rejects.toMatchObject({ code: '23505' });
  });
});
