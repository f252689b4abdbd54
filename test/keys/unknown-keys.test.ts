import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { KeysService } from '../../src/keys/service.ts';
import { observed } from '../policies/store-fixtures.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { act, createStartedDatabase, kidOf, replicaOn, type StartedDatabase } from './store-fixtures.ts';

let database: StartedDatabase;
let clock: FakeClock;
let keys: KeysService;

beforeAll(async () => {
  database = await createStartedDatabase();
});

beforeEach(async () => {
  await database.reset();
  clock = new FakeClock();
  keys = replicaOn(database.db, { clock });
});

const quarterly = { compromised: false, reason: 'quarterly' } as const;

describe('tokens with an unknown kid', () => {
  /** Creates a replica, and counts how often it reads the keys. */
  function counted(): { replica: KeysService; reads: () => number; fail: (failing: boolean) => void } {
    let [reads, failing] = [0, false];
    const db = observed(database.db, (query) => {
      if (!query.includes('private_sealed')) return undefined;
      reads += 1;
      if (failing) throw new Error('no database');
      return undefined;
    });
    return {
      replica: replicaOn(db, { clock }),
      reads: () => reads,
      fail: (value) => {
        failing = value;
      },
    };
  }

  it('make a replica read its keys at most once a second, in any number', async () => {
    const { replica, reads } = counted();
    for (const expected of [1, 2, 3]) {
      for (let i = 0; i < 20; i += 1) await replica.ring.refreshForUnknown();
      await Promise.all(Array.from({ length: 20 }, () => replica.ring.refreshForUnknown()));
      expect(reads()).toBe(expected);
      clock.advance(1);
    }
    clock.advance(-3600);
    await replica.ring.refreshForUnknown();
    expect(reads()).toBe(4);
  });

  it('wait for the read in progress, so that a valid one among them is accepted', async () => {
    const { replica } = counted();
    const kid = kidOf(await keys.list(), 'ES256', 'active');
    void replica.ring.refreshForUnknown();
    await replica.ring.refreshForUnknown();
    expect(replica.ring.verificationKey(kid)).toBeDefined();
  });

  it('do not prevent a key from being found that another replica made and that begins to sign in the same second', async () => {
    const { replica, reads } = counted();
    clock.advance(360);
    await replica.ring.refreshForUnknown();
    await keys.rotate(act, quarterly);
    const next = kidOf(await keys.list(), 'ES256', 'prepared');
    clock.advance(359.5);
    await replica.ring.refreshForUnknown();
    clock.advance(0.5);
    await keys.rotate(act, quarterly);
    expect(kidOf(await keys.list(), 'ES256', 'active')).toBe(next);
    await replica.ring.refreshForUnknown();
    expect(reads()).toBe(2);
    expect(replica.ring.verificationKey(next)).toBeDefined();
  });

  it('fail with a failed read for that second, and no longer', async () => {
    const { replica, reads, fail } = counted();
    fail(true);
    for (let i = 0; i < 20; i += 1) {
      await expect(replica.ring.refreshForUnknown()).rejects.toThrow('no database');
    }
    fail(false);
    clock.advance(1);
    await replica.ring.refreshForUnknown();
    expect(reads()).toBe(2);
  });
});
