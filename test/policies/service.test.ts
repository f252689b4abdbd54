import { createHash } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { PoliciesService } from '../../src/policies/service.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';
import { forbidWhen, onePersonAgrees, permitAll, permitWhen, requestOf } from './fixtures.ts';
import { act, recordedEvents, replicaOn, storedEpoch } from './store-fixtures.ts';

let database: TestDatabase;
let clock: FakeClock;
let policies: PoliciesService;

beforeAll(async () => {
  database = await createTestDatabase();
});

beforeEach(async () => {
  await database.owner.query('truncate policies, policy_versions, audit_events');
  clock = new FakeClock();
  policies = replicaOn(database.db, clock);
});

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const nowhere = 'pol_01kjdw0a5vf8h8v0m6gq3r9x2c';
const decide = () => policies.engine.decide(requestOf()).decision;

/** Returns how many of `attempts` succeed, and the codes of the others. */
async function outcomes(
  attempts: Promise<unknown>[],
): Promise<{ succeeded: number; codes: Set<string | undefined> }> {
  const settled = await Promise.allSettled(attempts);
  const refused = settled.flatMap((one) =>
    one.status === 'rejected' ? [(one.reason as { code?: string }).code] : [],
  );
  return { succeeded: settled.length - refused.length, codes: new Set(refused) };
}

describe('a new policy', () => {
  it('is used here when the call returns, with version 1 and its author', async () => {
    const policy = await policies.create(act, { name: 'all', cedar: permitAll });
    expect(policy).toEqual({
      id: expect.stringMatching(/^pol_/),
      name: 'all',
      version: 1,
      cedar: permitAll,
      createdAt: clock.now(),
      updatedAt: clock.now(),
      updatedBy: 'adm_1',
    });
    expect(await policies.get(policy.id)).toEqual(policy);
    expect(policies.engine.decide(requestOf())).toMatchObject({
      decision: 'permit',
      policies: [{ id: policy.id, version: 1 }],
    });
    expect(policies.engine.epoch).toBe(await storedEpoch(database));
  });

  it('is audited with name, version and digest, and without its text', async () => {
    const { id } = await policies.create(act, { name: 'all', cedar: permitAll });
    expect(await recordedEvents(database)).toEqual([
      {
        type: 'policy.created',
        actor: 'person adm_1',
        objectId: id,
        details: { name: 'all', version: 1, sha256: sha256(permitAll) },
      },
    ]);
  });

  it('is refused with the position of each error, and changes nothing, if its text is not valid', async () => {
    const before = await storedEpoch(database);
    await expect(
      policies.create(act, { name: 'bad', cedar: permitWhen('context.nothing == 1') }),
    ).rejects.toMatchObject({
      code: 'invalid-policy',
      extensions: {
        errors: [{ message: expect.any(String), line: expect.any(Number), column: expect.any(Number) }],
      },
    });
    expect(await storedEpoch(database)).toBe(before);
    expect(await recordedEvents(database)).toEqual([]);
  });

  it('has a name that is unique among existing policies: of 20 concurrent ones one is created, and the name is free after deletion', async () => {
    const attempts = Array.from({ length: 20 }, () =>
      policies.create(act, { name: 'same', cedar: permitAll }),
    );
    expect(await outcomes(attempts)).toEqual({ succeeded: 1, codes: new Set(['name-taken']) });
    expect(await recordedEvents(database)).toHaveLength(1);
    const [{ id } = { id: '' }] = (await policies.list({ limit: 5 })).items;
    await policies.remove(act, id);
    await expect(policies.create(act, { name: 'same', cedar: permitAll })).resolves.toMatchObject({
      version: 1,
    });
  });

  it('is not created if it cannot be audited', async () => {
    const before = await storedEpoch(database);
    const unrecorded = replicaOn(database.db, new FakeClock('2031-01-01T00:00:00Z'));
    await expect(unrecorded.create(act, { name: 'all', cedar: permitAll })).rejects.toMatchObject({
      code: 'unavailable',
      cause: { code: '23514' },
    });
    expect((await policies.list({ limit: 5 })).items).toEqual([]);
    expect(await storedEpoch(database)).toBe(before);
  });
});

describe('an update', () => {
  it('creates the next version, keeps the earlier text, and is used here at once', async () => {
    const { id, createdAt } = await policies.create(act, { name: 'all', cedar: permitAll });
    clock.advance(60);
    const updated = await policies.update(act, id, { cedar: onePersonAgrees });
    expect(updated).toMatchObject({ name: 'all', version: 2, cedar: onePersonAgrees, createdAt });
    expect(updated.updatedAt).toEqual(clock.now());
    expect(await policies.get(id)).toEqual(updated);
    expect(decide()).toBe('deny');
    const texts = await database.db
      .selectFrom('policy_versions')
      .select(['version', 'cedar'])
      .orderBy('version')
      .execute();
    expect(texts).toEqual([
      { version: 1, cedar: permitAll },
      { version: 2, cedar: onePersonAgrees },
    ]);
    expect((await recordedEvents(database)).at(-1)).toMatchObject({
      type: 'policy.updated',
      details: { name: 'all', version: 2, sha256: sha256(onePersonAgrees) },
    });
  });

  it('renames the policy, but not to a name in use', async () => {
    await policies.create(act, { name: 'one', cedar: permitAll });
    const { id } = await policies.create(act, { name: 'two', cedar: permitAll });
    await expect(policies.update(act, id, { name: 'one', cedar: permitAll })).rejects.toMatchObject({
      code: 'name-taken',
    });
    await expect(policies.update(act, id, { name: 'three', cedar: permitAll })).resolves.toMatchObject({
      name: 'three',
    });
  });

  it('of a version that is not the current one is refused, so of 20 concurrent editors of one version one succeeds', async () => {
    const { id } = await policies.create(act, { name: 'all', cedar: permitAll });
    const edits = Array.from({ length: 20 }, () =>
      policies.update(act, id, { cedar: onePersonAgrees, version: 1 }),
    );
    expect(await outcomes(edits)).toEqual({ succeeded: 1, codes: new Set(['conflict']) });
    await expect(policies.update(act, id, { cedar: permitAll, version: 3 })).rejects.toMatchObject({
      code: 'conflict',
      detail: 'the current version is 2',
    });
    await expect(policies.update(act, id, { cedar: permitAll, version: 2 })).resolves.toMatchObject({
      version: 3,
    });
  });

  it('without a version always creates the next one: 20 concurrent updates create 20', async () => {
    const { id } = await policies.create(act, { name: 'all', cedar: permitAll });
    await Promise.all(Array.from({ length: 20 }, () => policies.update(act, id, { cedar: permitAll })));
    expect((await policies.get(id)).version).toBe(21);
  });

  it('that is refused leaves the epoch unchanged', async () => {
    const { id } = await policies.create(act, { name: 'all', cedar: permitAll });
    const before = await storedEpoch(database);
    await expect(policies.update(act, nowhere, { cedar: permitAll })).rejects.toMatchObject({
      code: 'not-found',
    });
    await expect(policies.update(act, id, { cedar: permitAll, version: 9 })).rejects.toMatchObject({
      code: 'conflict',
    });
    await expect(policies.update(act, id, { cedar: 'permit' })).rejects.toMatchObject({
      code: 'invalid-policy',
    });
    await expect(policies.remove(act, nowhere)).rejects.toMatchObject({ code: 'not-found' });
    expect(await storedEpoch(database)).toBe(before);
  });
});

describe('a deleted policy', () => {
  it('is no longer used, is not found, and is audited with its last text', async () => {
    const { id } = await policies.create(act, { name: 'all', cedar: permitAll });
    await policies.remove(act, id);
    expect(decide()).toBe('deny');
    await expect(policies.get(id)).rejects.toMatchObject({ code: 'not-found' });
    await expect(policies.update(act, id, { cedar: permitAll })).rejects.toMatchObject({ code: 'not-found' });
    await expect(policies.remove(act, id)).rejects.toMatchObject({ code: 'not-found' });
    expect((await policies.list({ limit: 5 })).items).toEqual([]);
    expect((await recordedEvents(database)).at(-1)).toMatchObject({
      type: 'policy.deleted',
      objectId: id,
      details: { name: 'all', version: 1, sha256: sha256(permitAll) },
    });
  });

  it('keeps its row and versions, to which earlier decisions refer', async () => {
    const { id } = await policies.create(act, { name: 'all', cedar: permitAll });
    await policies.remove(act, id);
    const rows = await database.db.selectFrom('policies').select(['id', 'deleted_at']).execute();
    expect(rows).toEqual([{ id, deleted_at: clock.now() }]);
    expect(await database.db.selectFrom('policy_versions').select('version').execute()).toHaveLength(1);
  });
});

it('pages list the existing policies, oldest first', async () => {
  const names = ['a', 'b', 'c'];
  for (const name of names) {
    clock.advance(1);
    await policies.create(act, { name, cedar: forbidWhen('context.delegated') });
  }
  const first = await policies.list({ limit: 2 });
  const rest = await policies.list({ limit: 2, after: first.items.at(-1)?.id });
  expect([first.more, rest.more]).toEqual([true, false]);
  expect([...first.items, ...rest.items].map(({ name }) => name)).toEqual(names);
});

describe('the default policy', () => {
  const parallel = () => Promise.all(Array.from({ length: 20 }, () => policies.ensureDefaultPolicy()));

  it('is created once for 20 concurrent starts, and requires one approval for everything', async () => {
    expect((await parallel()).filter((made) => made)).toHaveLength(1);
    const { items } = await policies.list({ limit: 5 });
    expect(items).toEqual([
      expect.objectContaining({ name: 'default: one approval for everything', version: 1 }),
    ]);
    expect(await recordedEvents(database)).toEqual([
      expect.objectContaining({ type: 'policy.created', actor: 'system start', objectId: items[0]?.id }),
    ]);
    expect(decide()).toBe('deny');
    expect(policies.engine.decide(requestOf({ context: { approvals: 1 } })).decision).toBe('permit');
  });

  it('is never created again, even after every policy was deleted', async () => {
    await policies.ensureDefaultPolicy();
    for (const { id } of (await policies.list({ limit: 5 })).items) await policies.remove(act, id);
    expect(await policies.ensureDefaultPolicy()).toBe(false);
    expect((await policies.list({ limit: 5 })).items).toEqual([]);
  });

  it('is not created if another policy was created before', async () => {
    await policies.create(act, { name: 'all', cedar: permitAll });
    const before = await storedEpoch(database);
    expect(await policies.ensureDefaultPolicy()).toBe(false);
    expect(await storedEpoch(database)).toBe(before);
  });
});
