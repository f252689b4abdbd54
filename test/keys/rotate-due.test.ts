import { sql } from 'kysely';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { generateSigningKeyPair, signingAlgs } from '../../src/crypto/algorithms.ts';
import { verifyJwt } from '../../src/crypto/jwt.ts';
import type { KeysService } from '../../src/keys/service.ts';
import { keyTimes } from '../../src/keys/signing-key.ts';
import { toEpochSeconds } from '../../src/platform/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  act,
  census,
  createStartedDatabase,
  kidOf,
  noFence,
  recordedEvents,
  replicaOn,
  type StartedDatabase,
} from './store-fixtures.ts';

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

const firstStart = Object.fromEntries(
  signingAlgs.flatMap((alg) => [
    [`${alg} active`, 1],
    [`${alg} prepared`, 1],
  ]),
);
const issuer = 'https://hallpass.test';
const claims = () => {
  const iat = toEpochSeconds(clock.now());
  return { iss: issuer, jti: 'j', iat, exp: iat + 60 };
};

describe('the first start', () => {
  it('creates one active and one prepared key per algorithm, for any number of replicas', async () => {
    await database.owner.query('truncate signing_keys, audit_events');
    const replica = replicaOn(database.db, { clock });
    const counts = await Promise.all(
      Array.from({ length: 4 }, (_, index) => (index % 2 === 0 ? keys : replica).rotateDue(noFence)),
    );
    expect(counts.filter((count) => count !== 0)).toEqual([6]);
    expect(census(await keys.list())).toEqual(firstStart);
    const events = await recordedEvents(database);
    expect(events.map(({ type }) => type)).toEqual([
      ...Array.from({ length: 3 }, () => 'key.activated'),
      ...Array.from({ length: 3 }, () => 'key.prepared'),
    ]);
    for (const { kid, actor, details } of events) {
      const alg = (await keys.list()).find((key) => key.kid === kid)?.alg;
      expect({ actor, details }).toEqual({ actor: 'system rotate-keys', details: { alg } });
    }
  });

  it('generates every key pair before it locks the keys, because other replicas wait for the lock', async () => {
    await database.owner.query('truncate signing_keys, audit_events');
    const locks: unknown[] = [];
    const replica = replicaOn(database.db, {
      clock,
      generateKeyPair: async (alg) => {
        const { rows } = await sql`select 1 from pg_locks where locktype = 'advisory' and granted
          and database = (select oid from pg_database where datname = current_database())
          and objid = hashtext('hallpass.keys')::bit(32)::bigint::oid`.execute(database.db);
        locks.push(...rows);
        return generateSigningKeyPair(alg);
      },
    });
    expect(await replica.rotateDue(noFence)).toBe(6);
    expect(locks).toEqual([]);
  });

  it('leaves nothing to do for the next run', async () => {
    expect(await keys.rotateDue(noFence)).toBe(0);
    expect(await recordedEvents(database)).toEqual([]);
  });

  it('creates no key whose audit event cannot be written', async () => {
    await database.owner.query('truncate signing_keys');
    const unrecorded = replicaOn(database.db, { clock: new FakeClock('2031-01-01T00:00:00Z') });
    await expect(unrecorded.rotateDue(noFence)).rejects.toMatchObject({
      code: 'unavailable',
      cause: { code: '23514' },
    });
    expect(await keys.list()).toEqual([]);
  });
});

describe('the fence', () => {
  it('stops a replica that has lost the job before it changes anything', async () => {
    clock.advance(keyTimes.rotationSeconds);
    const lost = new Error('the lease is gone');
    await expect(
      keys.rotateDue(async () => {
        throw lost;
      }),
    ).rejects.toBe(lost);
    expect(census(await keys.list())).toEqual(firstStart);
  });

  it('runs in the transaction of the change, after the lock', async () => {
    const seen: number[] = [];
    await keys.rotateDue(async (tx) => {
      const locks = await sql<{ n: number }>`
        select count(*) as n from pg_locks
         where locktype = 'advisory' and granted and pid = pg_backend_pid()`.execute(tx);
      seen.push(...locks.rows.map(({ n }) => n));
    });
    expect(seen).toEqual([1]);
  });
});

describe('a rotation that is due', () => {
  it('activates, retires and prepares keys once, for any number of replicas, and old tokens verify', async () => {
    await keys.ring.refresh();
    const before = await keys.list();
    const token = keys.ring.signer('ES256')?.sign(claims()) ?? '';
    clock.advance(keyTimes.rotationSeconds);
    const replica = replicaOn(database.db, { clock });
    const counts = await Promise.all(
      Array.from({ length: 4 }, (_, index) => (index % 2 === 0 ? keys : replica).rotateDue(noFence)),
    );
    expect(counts.filter((count) => count !== 0)).toEqual([9]);
    const after = await keys.list();
    for (const alg of signingAlgs) {
      expect(kidOf(after, alg, 'retiring')).toBe(kidOf(before, alg, 'active'));
      expect(kidOf(after, alg, 'active')).toBe(kidOf(before, alg, 'prepared'));
    }
    for (const { ring } of [keys, replica]) {
      await ring.refresh();
      expect(ring.signer('ES256')?.kid).toBe(kidOf(after, 'ES256', 'active'));
      expect(verifyJwt(token, { keys: ring.verificationKey, typ: 'at+jwt', issuer })).toMatchObject({
        ok: true,
        kid: kidOf(before, 'ES256', 'active'),
      });
    }
    const events = await recordedEvents(database);
    expect(events.map(({ type }) => type)).toEqual(
      ['key.activated', 'key.prepared', 'key.retiring'].flatMap((type) => [type, type, type]),
    );
    expect(events[0]?.details).not.toHaveProperty('unpublished');
  });
});

it('a key that an admin marked as compromised is replaced automatically as soon as the next one was published long enough', async () => {
  const leak = { alg: 'EdDSA', compromised: true, reason: 'leaked' } as const;
  await keys.rotate(act, leak);
  const second = kidOf(await keys.list(), 'EdDSA', 'active');
  await expect(keys.rotate(act, { ...leak, kid: second })).rejects.toMatchObject({
    code: 'no-published-key',
  });
  expect([keys.ring.signer('EdDSA'), await keys.hasActiveKey('EdDSA')]).toEqual([undefined, false]);
  expect([await keys.hasActiveKey('ES256'), await keys.hasActiveKey()]).toEqual([true, true]);
  clock.advance(359);
  expect(await keys.rotateDue(noFence)).toBe(0);
  clock.advance(1);
  expect(await keys.rotateDue(noFence)).toBe(2);
  expect(keys.ring.signer('EdDSA')?.kid).toBe(kidOf(await keys.list(), 'EdDSA', 'active'));
  expect(await keys.hasActiveKey('EdDSA')).toBe(true);
});
