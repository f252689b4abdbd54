import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Db } from '../../src/db/database.ts';
import type { PoliciesService } from '../../src/policies/service.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';
import { forbidWhen, permitAll, requestOf } from './fixtures.ts';
import { act, observed, replicaOn, storedEpoch } from './store-fixtures.ts';

let database: TestDatabase;
let one: PoliciesService;
let other: PoliciesService;
/** How often the second replica has read all policies. */
let loads: number;
/** How often it has read only the epoch. */
let epochReads: number;
/** Delays the policies that it reads. */
let hold: Promise<void> | undefined;

function countedReplica(): PoliciesService {
  const db: Db = observed(database.db, (query) => {
    if (query.includes('policy_versions')) {
      loads += 1;
      return hold;
    }
    epochReads += 1;
    return undefined;
  });
  return replicaOn(db);
}

beforeAll(async () => {
  database = await createTestDatabase();
});

beforeEach(async () => {
  await database.owner.query('truncate policies, policy_versions, audit_events');
  loads = 0;
  epochReads = 0;
  hold = undefined;
  one = replicaOn(database.db);
  other = countedReplica();
});

const decide = (replica: PoliciesService) => replica.engine.decide(requestOf()).decision;
const forbidAll = forbidWhen('true');

/** Overwrites the current text, which the application role cannot do. Raises the epoch if requested. */
async function overwrite(id: string, cedar: string, { raise }: { raise: boolean }): Promise<void> {
  await database.owner.query('update policy_versions set cedar = $2 where policy_id = $1', [id, cedar]);
  if (raise) await database.owner.query('update policy_epoch set epoch = epoch + 1');
}

describe('a replica', () => {
  it('denies everything before it has read the policies', async () => {
    await one.create(act, { name: 'all', cedar: permitAll });
    expect(decide(other)).toBe('error');
    expect(other.engine.epoch).toBeUndefined();
  });

  it("uses another replica's changes after a refresh", async () => {
    const { id } = await one.create(act, { name: 'all', cedar: permitAll });
    expect(await other.refresh()).toBe(await storedEpoch(database));
    expect(decide(other)).toBe('permit');
    await one.create(act, { name: 'nothing', cedar: forbidAll });
    expect(decide(other)).toBe('permit');
    expect(await other.refresh()).toBe(await storedEpoch(database));
    expect(decide(other)).toBe('deny');
    await one.remove(act, id);
    expect(await other.refresh()).toBe(one.engine.epoch);
  });

  it('reads the policies only when the epoch changed', async () => {
    await one.create(act, { name: 'all', cedar: permitAll });
    for (let i = 0; i < 3; i += 1) await other.refresh();
    expect(loads).toBe(1);
  });

  it('reads them once for 20 concurrent calls', async () => {
    await one.create(act, { name: 'all', cedar: permitAll });
    const epochs = await Promise.all(Array.from({ length: 20 }, () => other.refresh()));
    expect(new Set(epochs)).toEqual(new Set([await storedEpoch(database)]));
    expect(loads).toBe(1);
  });

  it('never returns an epoch older than the call, with any concurrent changes', async () => {
    const changes = Array.from({ length: 10 }, async (_, index) => {
      await one.create(act, { name: `policy ${index}`, cedar: permitAll });
      const epoch = await storedEpoch(database);
      expect(await other.refresh()).toBeGreaterThanOrEqual(epoch);
    });
    await Promise.all(changes);
    expect(other.engine.epoch).toBe(await storedEpoch(database));
  });

  it('does not mistake policies that were read before a change for those after it', async () => {
    await one.create(act, { name: 'all', cedar: permitAll });
    let release = (): void => {};
    hold = new Promise((resolve) => {
      release = resolve;
    });
    const early = other.refresh();
    while (loads === 0) await storedEpoch(database);
    await one.create(act, { name: 'nothing', cedar: forbidAll });
    const late = other.refresh();
    while (epochReads < 2) await storedEpoch(database);
    await storedEpoch(database);
    hold = undefined;
    release();
    expect(await early).toBeGreaterThan(0n);
    expect(await late).toBe(await storedEpoch(database));
    expect(decide(other)).toBe('deny');
  });

  it('refreshes in transactions that hold every connection', async () => {
    await one.create(act, { name: 'all', cedar: permitAll });
    const refreshes = Array.from({ length: 30 }, (_, index) =>
      index % 2 === 0 ? other.refresh() : database.db.transaction().execute((tx) => other.refresh(tx)),
    );
    expect(new Set(await Promise.all(refreshes))).toEqual(new Set([await storedEpoch(database)]));
  });

  it('denies by default without any policy', async () => {
    await other.refresh();
    expect(decide(other)).toBe('deny');
  });
});

describe('a database that lost its last changes in a failover', () => {
  /** Undoes the changes to the policy of this name since epoch `to`. */
  async function setBack(to: bigint, lost: string): Promise<void> {
    const { owner } = database;
    await owner.query('alter table policy_epoch disable trigger policy_epoch_rises');
    await owner.query('update policy_epoch set epoch = $1', [String(to)]);
    await owner.query('alter table policy_epoch enable trigger policy_epoch_rises');
    await owner.query(
      'delete from policy_versions v using policies p where p.id = v.policy_id and p.name = $1',
      [lost],
    );
    await owner.query('delete from policies where name = $1', [lost]);
  }

  it('decides by its current policies: lost ones permit nothing more', async () => {
    await one.create(act, { name: 'kept', cedar: forbidWhen('context.max_risk == "high"') });
    const kept = await storedEpoch(database);
    await one.create(act, { name: 'lost', cedar: permitAll });
    await other.refresh();
    expect(decide(other)).toBe('permit');
    await setBack(kept, 'lost');
    expect(await other.refresh()).toBe(kept);
    expect(decide(other)).toBe('deny');
  });

  it('decides by its current policies also after as many new changes: no epoch is used twice', async () => {
    await one.create(act, { name: 'kept', cedar: forbidWhen('context.max_risk == "high"') });
    const kept = await storedEpoch(database);
    await one.create(act, { name: 'lost', cedar: permitAll });
    const lost = await other.refresh();
    await setBack(kept, 'lost');
    const later = new FakeClock('2026-03-02T10:01:00.000Z');
    await replicaOn(database.db, later).create(act, { name: 'made since', cedar: forbidAll });
    expect(await storedEpoch(database)).toBeGreaterThan(lost);
    expect(await other.refresh()).toBe(await storedEpoch(database));
    expect(decide(other)).toBe('deny');
  });

  it('ends the failure of a replica that could not load a lost policy', async () => {
    await one.create(act, { name: 'kept', cedar: permitAll });
    const kept = await storedEpoch(database);
    const { id } = await one.create(act, { name: 'lost', cedar: permitAll });
    await overwrite(id, 'nonsense', { raise: false });
    await expect(other.refresh()).rejects.toMatchObject({ code: 'unavailable' });
    await setBack(kept, 'lost');
    expect(await other.refresh()).toBe(kept);
    expect(decide(other)).toBe('permit');
  });
});

describe('a stored policy that cannot be loaded', () => {
  it('denies everything with `unavailable`, instead of using the previous policies', async () => {
    await one.create(act, { name: 'all', cedar: permitAll });
    const { id } = await one.create(act, { name: 'other', cedar: forbidWhen('context.delegated') });
    await other.refresh();
    expect(decide(other)).toBe('permit');
    await overwrite(id, 'forbid(principal', { raise: true });
    await expect(other.refresh()).rejects.toMatchObject({ code: 'unavailable' });
    expect(other.engine.decide(requestOf())).toMatchObject({
      decision: 'error',
      errors: [`the policies of epoch ${await storedEpoch(database)} could not be loaded`],
    });
    expect(other.engine.epoch).toBeUndefined();
    await expect(other.refresh()).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('does not prevent a replica from starting, reporting it and denying', async () => {
    const { id } = await one.create(act, { name: 'all', cedar: permitAll });
    await overwrite(id, 'nonsense', { raise: true });
    await expect(other.refresh()).rejects.toMatchObject({ code: 'unavailable' });
    expect(decide(other)).toBe('error');
  });

  it('denies no longer after it was fixed, in place or by the next change', async () => {
    const { id } = await one.create(act, { name: 'all', cedar: permitAll });
    await overwrite(id, 'nonsense', { raise: true });
    await expect(other.refresh()).rejects.toMatchObject({ code: 'unavailable' });
    await overwrite(id, permitAll, { raise: false });
    expect(await other.refresh()).toBe(await storedEpoch(database));
    expect(decide(other)).toBe('permit');

    await overwrite(id, 'nonsense', { raise: true });
    await expect(other.refresh()).rejects.toMatchObject({ code: 'unavailable' });
    await one.update(act, id, { cedar: permitAll });
    await other.refresh();
    expect(decide(other)).toBe('permit');
  });

  it('does not make a change of another policy fail: it is committed, but not yet used', async () => {
    const { id } = await one.create(act, { name: 'all', cedar: permitAll });
    await overwrite(id, 'nonsense', { raise: true });
    const added = await one.create(act, { name: 'other', cedar: permitAll });
    expect(await one.get(added.id)).toMatchObject({ version: 1 });
    expect(decide(one)).toBe('error');
  });
});
