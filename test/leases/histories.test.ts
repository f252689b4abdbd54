import fc from 'fast-check';
import { beforeAll, expect, it } from 'vitest';
import { createTargetAndGrant, endDue, grantFor, type Scene, startScene } from './scene.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
});

/** What a history does, with numbers that choose a grant, a lease or a duration. */
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('create'),
      which: fc.nat(2),
      seconds: fc.integer({ min: 1, max: 900 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('renew'),
      which: fc.nat(),
      seconds: fc.integer({ min: 1, max: 900 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('revoke'), which: fc.nat(), seconds: fc.constant(0) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('endGrant'), which: fc.nat(2), seconds: fc.constant(0) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('logIn'), which: fc.nat(), seconds: fc.constant(0) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('own'), which: fc.nat(), seconds: fc.constant(0) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('advance'),
      which: fc.constant(0),
      seconds: fc.integer({ min: 1, max: 300 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('fail'), which: fc.nat(6), seconds: fc.constant(0) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('recover'), which: fc.constant(0), seconds: fc.constant(0) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('endDue'), which: fc.constant(0), seconds: fc.constant(0) }),
  },
);

interface Step {
  do: string;
  which: number;
  seconds: number;
}

interface World {
  grants: { id: string; expires_at: string }[];
  leases: string[];
}

const accountAt = (which: number) =>
  [...scene.server.accounts.values()].at(which % Math.max(1, scene.server.accounts.size));
const leaseAt = ({ leases }: World, which: number) => leases[which % Math.max(1, leases.length)];

function recover(): void {
  const { faults } = scene.server;
  faults.isUnreachable = false;
  for (const calls of [faults.lostAfter, faults.missingPrivilege]) calls.clear();
}

const failures: readonly (() => unknown)[] = [
  () => Object.assign(scene.server.faults, { isUnreachable: true }),
  () => scene.server.faults.lostAfter.add('create'),
  () => scene.server.faults.lostAfter.add('disableAccess'),
  () => scene.server.faults.lostAfter.add('endSessions'),
  () => scene.server.faults.lostAfter.add('cleanUp'),
  () => scene.server.faults.lostAfter.add('renew'),
  () => scene.server.faults.missingPrivilege.add('cleanUp'),
];

const actions: Record<string, (world: World, step: Step) => unknown> = {
  async create({ grants, leases }, { which, seconds }) {
    const api = await scene.as();
    const { status, body } = await api.post('/v1/leases', {
      grant_id: grants[which]?.id,
      ttl_seconds: seconds,
    });
    expect([201, 409, 503]).toContain(status);
    if (status === 201) leases.push(body.id);
  },
  async renew(world, { which, seconds }) {
    const id = leaseAt(world, which);
    if (id === undefined) return;
    const api = await scene.as();
    const { status } = await api.post(`/v1/leases/${id}/renew`, { ttl_seconds: seconds });
    expect([200, 409, 503]).toContain(status);
  },
  async revoke(world, { which }) {
    const id = leaseAt(world, which);
    if (id !== undefined) await scene.admin.post(`/v1/leases/${id}/revoke`).expect(200);
  },
  endGrant: ({ grants }, { which }) =>
    scene.admin.post(`/v1/grants/${grants[which]?.id}/revoke`, { reason: 'x' }),
  logIn(_world, { which }) {
    const account = accountAt(which);
    if (account?.canLogIn === true) account.sessions.push({ isOpen: true });
  },
  own: (_world, { which }) => accountAt(which)?.owns.push('table t'),
  advance: (_world, { seconds }) => scene.clock.advance(seconds),
  fail: (_world, { which }) => failures[which]?.(),
  recover,
  endDue: () => endDue(scene),
};

interface Row {
  account_name: string;
  access_disabled_at: Date | null;
  cleaned_up_at: Date | null;
  status: string;
  is_within_grant: boolean;
}

async function readRows(): Promise<Row[]> {
  const { rows } = await scene.broker.database.owner.query<Row>(
    `select l.account_name, l.access_disabled_at, l.cleaned_up_at, l.status, l.expires_at <= g.expires_at as is_within_grant
       from leases l join grants g on g.id = l.grant_id`,
  );
  return rows;
}

/** What holds after each step, also after failures. */
async function check(): Promise<void> {
  const rows = new Map((await readRows()).map((row) => [row.account_name, row]));
  for (const { name, canLogIn, sessions } of scene.server.accounts.values()) {
    const row = rows.get(name);
    if (row === undefined) {
      // The account of a preflight, which no lease has.
      const { rows: found } = await scene.broker.database.owner.query(
        'select from preflights where account_name = $1',
        [name],
      );
      expect(found).toHaveLength(1);
      continue;
    }
    expect(row.cleaned_up_at).toBeNull();
    if (row.access_disabled_at === null) continue;
    expect(canLogIn).toBe(false);
    expect(sessions.filter(({ isOpen }) => isOpen)).toEqual([]);
  }
  for (const { is_within_grant: isWithin } of rows.values()) expect(isWithin).toBe(true);
}

it('no history of requests, time and failures leaves access or an account without a lease', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (history) => {
      recover();
      scene.server.accounts.clear();
      await scene.broker.database.owner.query('truncate leases');
      const { grant, resource } = await createTargetAndGrant(scene, { durationSeconds: 600 });
      const world: World = { grants: [grant], leases: [] };
      for (const durationSeconds of [60, 1_200])
        world.grants.push(await grantFor(scene, { resource, durationSeconds }));
      for (const each of history) {
        await actions[each.do]?.(world, each);
        await check();
      }
      recover();
      for (const account of scene.server.accounts.values()) account.owns.length = 0;
      for (let round = 0; round < 4; round += 1) {
        scene.clock.advance(3_600);
        await endDue(scene);
      }
      await check();
      expect(scene.server.accounts.size).toBe(0);
      for (const row of await readRows()) {
        expect(row).toMatchObject({ status: 'revoked', cleaned_up_at: expect.any(Date) });
      }
    }),
    { seed: 20_260_302, numRuns: 12 },
  );
});
